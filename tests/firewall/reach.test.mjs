// `plenum doctor --reach` from a machine behind a firewall.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';

import { BINARY, Server } from './lib/machines.mjs';
import { Network, SERVER } from './lib/network.mjs';

describe('the doctor looks which ways lead to a server', { timeout: 120_000 }, () => {
  let network, server;

  before(async () => {
    network = await Network.start();
    server = await Server.start(network, [`--turn-listen=${SERVER}:3479`]);
  });
  afterEach(() => network.block());
  after(async () => {
    const code = await server?.stop();
    await network?.stop();
    assert.equal(code, 0, server?.log);
  });

  /** What it prints, and its exit code. */
  async function reach(...options) {
    const command = network.on('client', [BINARY, 'doctor', `--reach=https://${SERVER}`, ...options]);
    const env = { ...process.env, SSL_CERT_FILE: join(server.folder, 'cert.pem') };
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], env });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        said += text;
      });
    }
    const [code] = await once(child, 'close');
    return { said, code };
  }

  test('with everything open each way is timed, and UDP is the one', async () => {
    const { said, code } = await reach();
    for (const way of [
      `UDP to ${SERVER}:3478`,
      `TCP to ${SERVER}:3478`,
      `TCP to ${SERVER}:443`,
      `TURN over UDP to ${SERVER}:3479`,
      `TURN over TCP to ${SERVER}:3479`,
      `TURN over TLS to ${SERVER}:443`,
    ])
      assert.match(said, new RegExp(`^good   ${way}: \\d+ ms$`, 'm'), said);
    assert.match(said, /calls from here go by UDP, as they should/);
    assert.equal(code, 0);
  });

  test('without UDP it says that calls go by TCP, and what to ask for', async () => {
    await network.block('meta l4proto udp');
    const { said, code } = await reach();
    assert.match(said, new RegExp(`^hint   UDP to ${SERVER}:3478: `, 'm'), said);
    assert.match(said, new RegExp(`^hint   TURN over UDP to ${SERVER}:3479: `, 'm'), said);
    assert.match(said, /calls from here go by TCP\n.*have UDP let through/, said);
    assert.equal(code, 0);
  });

  test('with nothing but HTTPS its port is what is left', async () => {
    await network.block('meta l4proto != tcp', 'tcp dport != 443');
    const { said } = await reach();
    assert.match(said, new RegExp(`^good   TCP to ${SERVER}:443: `, 'm'), said);
    assert.match(said, new RegExp(`^good   TURN over TLS to ${SERVER}:443: `, 'm'), said);
    assert.match(said, new RegExp(`^hint   TURN over TCP to ${SERVER}:3479: `, 'm'), said);
  });

  test('where HTTP is closed there is no call', async () => {
    await network.block('tcp dport 443');
    const { said, code } = await reach();
    assert.match(said, /^FAULT {2}https:\/\/198.51.100.1\/ gives no session: /m, said);
    assert.equal(code, 1);
  });
});
