// A real certificate authority for tests: Pebble, which Let's Encrypt made for that, and its DNS.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { freeTcpPort, freeUdpPort } from '../browser/lib/ports.mjs';
import { until } from '../browser/lib/until.mjs';

/** `tests/run` says where it built them. */
const built = name => (process.env.PLENUM_PEBBLE ? join(process.env.PLENUM_PEBBLE, name) : name);

/** A name that it never issues for. */
export const BLOCKED = 'blocked.plenum.test';

export class Pebble {
  #children = [];
  #log = '';

  /** Issues certificates of `seconds` to whoever answers at `tlsPort` of this machine, by whatever name. */
  static async start({ tlsPort, seconds }) {
    const pebble = new Pebble();
    pebble.folder = await mkdtemp(join(tmpdir(), 'plenum-pebble-'));
    await pebble.#run(tlsPort, seconds);
    return pebble;
  }

  async #run(tlsPort, seconds) {
    const file = name => join(this.folder, name);
    // Its own HTTPS: who trusts this file trusts it.
    this.trusted = file('pebble.pem');
    const subject = ['-subj', '/CN=pebble', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const kind = ['-addext', 'basicConstraints=critical,CA:FALSE'];
    const key = [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-keyout',
      file('key.pem'),
    ];
    execFileSync(
      'openssl',
      ['req', '-x509', ...key, '-out', this.trusted, '-days', '2', ...subject, ...kind],
      {
        stdio: 'ignore',
      },
    );
    const [port, management] = [await freeTcpPort(), await freeTcpPort()];
    this.directory = `https://127.0.0.1:${port}/dir`;
    this.management = `https://127.0.0.1:${management}`;
    const profile = { description: 'short', validityPeriod: seconds };
    const config = {
      pebble: {
        listenAddress: `127.0.0.1:${port}`,
        managementListenAddress: `127.0.0.1:${management}`,
        certificate: this.trusted,
        privateKey: file('key.pem'),
        httpPort: await freeTcpPort(),
        tlsPort,
        ocspResponderURL: '',
        externalAccountBindingRequired: false,
        domainBlocklist: [BLOCKED],
        retryAfter: { authz: 1, order: 1 },
        keyAlgorithm: 'ecdsa',
        profiles: { default: profile },
      },
    };
    await writeFile(file('config.json'), JSON.stringify(config));

    const dns = await freeUdpPort();
    const off = ['http01', 'https01', 'tlsalpn01', 'doh'].flatMap(name => [`-${name}`, '']);
    const names = ['-dnsserver', `127.0.0.1:${dns}`, '-defaultIPv4', '127.0.0.1', '-defaultIPv6', ''];
    this.#start('pebble-challtestsrv', [...names, ...off, '-management', `127.0.0.1:${await freeTcpPort()}`]);
    // Each name is looked at each time, and at once.
    const env = { PEBBLE_VA_NOSLEEP: '1', PEBBLE_AUTHZREUSE: '0' };
    this.#start('pebble', ['-config', file('config.json'), '-dnsserver', `127.0.0.1:${dns}`, '-strict'], env);
    await until('the authority is up', () => this.root());
  }

  #start(name, args, env = {}) {
    const child = spawn(built(name), args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#children.push(child);
    const kill = () => child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.off('exit', kill));
    child.on('error', error => {
      this.#log += `${name}: ${error.message}\n`;
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        this.#log += text;
      });
    }
  }

  /** The certificate that all others are signed by, in the end. */
  root() {
    return new Promise((resolve, reject) => {
      // Whoever asks here has made its certificate himself.
      const options = { rejectUnauthorized: false, agent: false };
      get(`${this.management}/roots/0`, options, async response => {
        let text = '';
        for await (const part of response.setEncoding('utf8')) text += part;
        resolve(text);
      }).on('error', reject);
    });
  }

  get lastWords() {
    return `\n--- the authority's log ---\n${this.#log.slice(-4000)}`;
  }

  async stop() {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }

  async remove() {
    await this.stop();
    await rm(this.folder, { recursive: true });
  }
}
