// The server on one machine, a Chromium on the other.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { SERVER } from './network.mjs';

const { chromium } = createRequire(new URL('../../browser/package.json', import.meta.url))('playwright-core');
const exec = promisify(execFile);

export const BINARY =
  process.env.PLENUM_SERVER ?? new URL('../../../target/debug/plenum', import.meta.url).pathname;

/** How long the server may take to begin, and to end. */
const PATIENCE_MS = 10_000;

export class Server {
  log = '';

  /** Starts it with HTTPS on 443, and a certificate that nobody vouches for. */
  static async start(network, more = []) {
    const folder = await mkdtemp(join(tmpdir(), 'plenum-firewall-'));
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    await exec('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'],
      ...[
        '-subj',
        `/CN=${SERVER}`,
        '-addext',
        `subjectAltName=IP:${SERVER}`,
        '-addext',
        'basicConstraints=critical,CA:FALSE',
        '-keyout',
        key,
        '-out',
        cert,
      ],
    ]);
    const server = new Server();
    server.folder = folder;
    const command = network.on('server', [
      BINARY,
      '--insecure',
      `--http=${SERVER}:443`,
      `--tls-cert=${cert}`,
      `--tls-key=${key}`,
      ...more,
    ]);
    server.child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
    process.once('exit', () => server.child.kill('SIGKILL'));
    const ready = new Promise((resolve, reject) => {
      for (const stream of [server.child.stdout, server.child.stderr]) {
        stream.setEncoding('utf8').on('data', text => {
          server.log += text;
          if (/\bready\b/.test(server.log)) resolve();
        });
      }
      server.child.once('exit', () => reject(new Error(`the server did not start:\n${server.log}`)));
      setTimeout(() => reject(new Error(`the server is not ready:\n${server.log}`)), PATIENCE_MS).unref();
    });
    await ready;
    return server;
  }

  /** Ends it, and gives its exit code; it has none if it had to be killed. */
  async stop() {
    const { child } = this;
    const killed = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGINT');
      await exited;
    }
    clearTimeout(killed);
    await rm(this.folder, { recursive: true });
    return child.exitCode;
  }
}

export class Browser {
  /** Starts a Chromium on a machine, where its own sandbox has no place. */
  static async start(network, machine = 'client') {
    const folder = await mkdtemp(join(tmpdir(), 'plenum-browser-'));
    const script = join(folder, 'chromium');
    const command = network.on(machine, [process.env.CHROMIUM ?? '/usr/bin/chromium']);
    await writeFile(script, `#!/bin/sh\nexec ${command.join(' ')} "$@"\n`);
    await chmod(script, 0o755);
    const browser = new Browser();
    browser.folder = folder;
    browser.chromium = await chromium.launch({
      executablePath: script,
      args: [
        '--use-fake-ui-for-media-stream',
        '--use-fake-device-for-media-stream=fps=20',
        '--autoplay-policy=no-user-gesture-required',
        '--mute-audio',
        '--ignore-certificate-errors',
        '--disable-features=LocalNetworkAccessChecks',
      ],
    });
    return browser;
  }

  /** A tab of its own, on a page of the server's. */
  async page(url) {
    const context = await this.chromium.newContext({
      ignoreHTTPSErrors: true,
      permissions: ['camera', 'microphone'],
    });
    const page = await context.newPage();
    await page.goto(url);
    return page;
  }

  async stop() {
    await this.chromium.close();
    await rm(this.folder, { recursive: true });
  }
}
