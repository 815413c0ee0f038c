// A coturn on the server's machine, set up with the lines of docs/operations.md.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { until } from '../../browser/lib/until.mjs';
import { SERVER } from './network.mjs';

const OPERATIONS = new URL('../../../docs/operations.md', import.meta.url);
const PORT = 3479;
/** How long it may take to begin, to end, and to be tried. */
const PATIENCE_MS = 10_000;

export class Relay {
  log = '';

  static async start(network, secret) {
    const page = await readFile(OPERATIONS, 'utf8');
    const documented = /```ini\n(use-auth-secret\n.*?)```/s.exec(page)[1];
    const relay = new Relay();
    relay.network = network;
    relay.folder = await mkdtemp(join(tmpdir(), 'plenum-relay-'));
    const config = join(relay.folder, 'turnserver.conf');
    const own = [
      `listening-ip=${SERVER}`,
      `relay-ip=${SERVER}`,
      'no-cli',
      'no-tls',
      'no-dtls',
      'verbose',
      'log-file=stdout',
      `pidfile=${join(relay.folder, 'pid')}`,
      `userdb=${join(relay.folder, 'users')}`,
    ];
    const lines = documented
      .replace(/^static-auth-secret=.*$/m, `static-auth-secret=${secret}`)
      .replace(/203\.0\.113\.5/g, SERVER);
    await writeFile(config, `${lines}${own.join('\n')}\n`);
    const command = network.on('server', ['turnserver', '-c', config]);
    relay.child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
    process.once('exit', () => relay.child.kill('SIGKILL'));
    for (const stream of [relay.child.stdout, relay.child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        relay.log += text;
      });
    }
    const listens = () => /TCP listener opened on/i.test(relay.log);
    await until('the relay listens', listens, PATIENCE_MS).catch(error => {
      throw new Error(`${error.message}\n${relay.log}`);
    });
    return relay;
  }

  /** How many allocations it has made. */
  get allocations() {
    return this.log.match(/ALLOCATE processed, success/g)?.length ?? 0;
  }

  /** Asks coturn's own client whether credentials bind a channel to a peer, and returns what it says. */
  async use({ username, credential, peer }) {
    const options = ['-v', '-t', '-n', '1', '-m', '1', '-p', `${PORT}`, '-e', peer, '-r', '3478'];
    const who = ['-u', username, '-w', credential];
    const command = this.network.on('client', ['turnutils_uclient', ...options, ...who, SERVER]);
    const client = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [client.stdout, client.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        said += text;
      });
    }
    const exited = once(client, 'exit');
    const decided = () => /cb response received:\s+\d+: : success|error \d+/.test(said);
    await until('the relay decides', () => decided() || client.exitCode !== null, PATIENCE_MS);
    client.kill('SIGKILL');
    await exited;
    return said;
  }

  async stop() {
    const { child } = this;
    const killed = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    }
    clearTimeout(killed);
    await rm(this.folder, { recursive: true });
  }
}
