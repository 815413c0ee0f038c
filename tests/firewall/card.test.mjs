// The server's own network fails for a moment: its cable, its firewall, its card. Whatever the kernel
// says to a send, it is counted, the socket lives on, and calls go on when it is over.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Metrics } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';
import { Server } from './lib/machines.mjs';
import { Network, SERVER } from './lib/network.mjs';

const exec = promisify(execFile);
const LOADTEST =
  process.env.PLENUM_LOADTEST ?? fileURLToPath(new URL('../../target/debug/loadtest', import.meta.url));
/** How long something is wrong: less than anybody is given up after. */
const WRONG_MS = 3_000;

describe('a call whose server has lost its network for three seconds', { timeout: 120_000 }, () => {
  let network, server, call;

  before(async () => {
    network = await Network.start();
    server = await Server.start(network);
    const args = [
      'broadcast',
      '--url',
      `https://${SERVER}`,
      '--subscribers',
      '4',
      '--seconds',
      '100',
      '--video-kbps',
      '8000',
    ];
    const command = network.on('client', [LOADTEST, ...args, '--max-loss', '100', '--max-video-loss', '100']);
    call = spawn(command[0], command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, SSL_CERT_FILE: join(server.folder, 'cert.pem') },
    });
    let said = '';
    for (const stream of [call.stdout, call.stderr]) stream.setEncoding('utf8').on('data', t => (said += t));
    const connected = () => sum(/^plenum_sessions_connected$/);
    await until('five are connected', async () => (await connected()) === 5, 20_000).catch(async error => {
      assert.fail(`${error.message}: ${await connected()} are\n${said}\n${server.log}`);
    });
  });
  after(async () => {
    call?.kill('SIGKILL');
    const code = await server?.stop();
    await network?.stop();
    assert.equal(code, 0, server?.log);
  });

  async function metrics() {
    const command = network.on('server', ['curl', '--silent', 'http://127.0.0.1:9080/metrics']);
    return new Metrics((await exec(command[0], command.slice(1))).stdout);
  }
  const sum = async (name, labels) => (await metrics()).sum(name, labels);
  const errors = reason => sum(/^plenum_udp_send_errors_total$/, { reason });
  const onServer = async (...command) => {
    const [program, ...args] = network.on('server', command);
    await exec(program, args);
  };

  const link = () => network.link('server');
  for (const [what, reason, begin, end] of [
    [
      'its cable',
      'unreachable',
      () => onServer('ip', 'link', 'set', link(), 'down'),
      () => onServer('ip', 'link', 'set', link(), 'up'),
    ],
    [
      'a firewall of its own that lets nothing out',
      'forbidden',
      () =>
        onServer(
          'nft',
          'add table inet own; add chain inet own out { type filter hook output priority 0; policy accept; }; add rule inet own out udp sport 3478 drop',
        ),
      () => onServer('nft', 'delete', 'table', 'inet', 'own'),
    ],
    [
      'a card that sends next to nothing',
      'would_block',
      () => onServer('tc', ...`qdisc add dev ${link()} root tbf rate 16kbit burst 2kb limit 64mb`.split(' ')),
      () => onServer('tc', 'qdisc', 'del', 'dev', link(), 'root'),
    ],
  ]) {
    test(`${what}: it is counted as ${reason}, and the call goes on`, async context => {
      const before = await errors(reason);
      await begin();
      await sleep(WRONG_MS);
      await end();
      const counted = (await errors(reason)) - before;
      context.diagnostic(`${counted} times`);
      assert.ok(counted > 0, 'nothing was counted');
      const sent = () => sum(/^plenum_udp_datagrams_total$/, { direction: 'out' });
      const then = await sent();
      await until('media flows', async () => (await sent()) > then + 500, 15_000);
      assert.equal(await sum(/^plenum_sessions_connected$/), 5, 'nobody was lost');
      assert.equal(call.exitCode, null);
    });
  }
});
