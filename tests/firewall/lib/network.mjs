// Two machines with a cable between them: network namespaces of Linux. The server's addresses look
// public, since Chromium takes candidates on low ports nowhere else.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const exec = promisify(execFile);

/** The server's address (RFC 5737 §3). */
export const SERVER = '198.51.100.1';
export const CLIENT = '198.51.100.2';

export class Network {
  server = `plenum-server-${process.pid}`;
  client = `plenum-client-${process.pid}`;
  bystander = `plenum-bystander-${process.pid}`;

  static async start() {
    const network = new Network();
    try {
      await network.#build();
    } catch (error) {
      await network.stop();
      throw error;
    }
    return network;
  }

  async #build() {
    const { server, client } = this;
    await exec('ip', ['netns', 'add', server]);
    await exec('ip', ['netns', 'add', client]);
    const [here, there] = [`ps${process.pid}`, `pc${process.pid}`];
    await exec('ip', ['-n', server, 'link', 'add', here, 'type', 'veth', 'peer', there, 'netns', client]);
    for (const [name, link, address] of [
      [server, here, SERVER],
      [client, there, CLIENT],
    ]) {
      await exec('ip', ['-n', name, 'address', 'add', `${address}/24`, 'dev', link]);
      // An IPv6 address of its own comes up a second after the link, and Chromium breaks off every
      // request when the machine's addresses change.
      await exec('ip', ['-n', name, 'link', 'set', link, 'addrgenmode', 'none']);
      await exec('ip', ['-n', name, 'link', 'set', link, 'up']);
      await exec('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
      await exec('ip', ['-n', name, 'route', 'add', 'default', 'dev', link]);
    }
  }

  /** The name of a machine's network card. */
  link(machine) {
    return { server: `ps${process.pid}`, client: `pc${process.pid}` }[machine];
  }

  /** One more address for a machine. */
  async also(machine, address) {
    await exec('ip', ['-n', this[machine], 'address', 'add', `${address}/32`, 'dev', this.link(machine)]);
  }

  /** What the client's firewall drops of what leaves for the server, as nft says it; all before is forgotten. */
  async block(...rules) {
    const table = [
      'table inet firewall',
      'delete table inet firewall',
      'table inet firewall {',
      'chain out {',
      'type filter hook output priority 0;',
      ...rules.map(rule => `ip daddr ${SERVER} ${rule} drop`),
      '}',
      '}',
    ].join('\n');
    const child = exec('ip', ['netns', 'exec', this.client, 'nft', '-f', '-']);
    child.child.stdin.end(`${table}\n`);
    await child;
  }

  /** Drops all that leaves the client or comes to it and is so, as nft says it. */
  async drop(rule) {
    const chain = hook => `chain ${hook} {\ntype filter hook ${hook} priority 0;\n${rule} drop\n}\n`;
    const table = `table inet firewall {\n${chain('output')}${chain('input')}}`;
    const child = exec('ip', ['netns', 'exec', this.client, 'nft', '-f', '-']);
    child.child.stdin.end(`${table}\n`);
    await child;
  }

  /** Gives both machines an IPv6 address, too. */
  async addIpv6() {
    for (const [name, link, host] of [
      [this.server, `ps${process.pid}`, 1],
      [this.client, `pc${process.pid}`, 2],
    ]) {
      await exec('ip', ['-n', name, 'address', 'add', `2a00:9::${host}/64`, 'dev', link, 'nodad']);
    }
  }

  /** The client leaves its network for another one, as from Wi-Fi to mobile. */
  async move() {
    const { server, client } = this;
    const [here, there] = [`qs${process.pid}`, `qc${process.pid}`];
    await exec('ip', ['-n', server, 'link', 'add', here, 'type', 'veth', 'peer', there, 'netns', client]);
    for (const [name, link, address] of [
      [server, here, '198.51.101.1'],
      [client, there, '198.51.101.2'],
    ]) {
      await exec('ip', ['-n', name, 'address', 'add', `${address}/24`, 'dev', link]);
      await exec('ip', ['-n', name, 'link', 'set', link, 'addrgenmode', 'none']);
    }
    await exec('ip', ['-n', server, 'link', 'set', here, 'up']);
    await exec('ip', ['-n', client, 'link', 'set', `pc${process.pid}`, 'down']);
    await exec('ip', ['-n', client, 'link', 'set', there, 'up']);
    await exec('ip', ['-n', client, 'route', 'add', 'default', 'via', '198.51.101.1', 'dev', there]);
  }

  /** A third machine, with a cable of its own to the server, and no firewall. */
  async addBystander() {
    const { server, bystander } = this;
    await exec('ip', ['netns', 'add', bystander]);
    const [here, there] = [`bs${process.pid}`, `bc${process.pid}`];
    await exec('ip', ['-n', server, 'link', 'add', here, 'type', 'veth', 'peer', there, 'netns', bystander]);
    for (const [name, link, address] of [
      [server, here, '198.51.102.1'],
      [bystander, there, '198.51.102.2'],
    ]) {
      await exec('ip', ['-n', name, 'address', 'add', `${address}/24`, 'dev', link]);
      await exec('ip', ['-n', name, 'link', 'set', link, 'addrgenmode', 'none']);
      await exec('ip', ['-n', name, 'link', 'set', link, 'up']);
    }
    await exec('ip', ['-n', bystander, 'link', 'set', 'lo', 'up']);
    await exec('ip', ['-n', bystander, 'route', 'add', 'default', 'via', '198.51.102.1']);
  }

  /** A command as it is on one of the machines. */
  on(machine, command) {
    return ['ip', 'netns', 'exec', this[machine], ...command];
  }

  async stop() {
    for (const name of [this.server, this.client, this.bystander]) {
      await exec('ip', ['netns', 'delete', name]).catch(() => {});
    }
  }
}
