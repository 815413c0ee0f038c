// Somebody sets the clock while people talk: by an hour forward, back, and back again. Media goes by
// the steady clock; tokens go by the one on the wall.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { post, publisherOffer } from '../browser/lib/offer.mjs';
import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const built = name => fileURLToPath(new URL(`../../target/debug/${name}`, import.meta.url));
const SERVER = process.env.PLENUM_SERVER ?? built('plenum');
const LOADTEST = process.env.PLENUM_LOADTEST ?? built('loadtest');
const KEY = 'a secret for tests that nobody guesses';
/** How long each time lasts. */
const WATCHED_MS = 3_000;

let folder, server, call;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plenum-clock-'));
});
after(async () => {
  call?.kill('SIGKILL');
  await server?.stop();
  await rm(folder, { recursive: true });
});

/** Sets the server's clock; the library reads the file anew for each look at the clock. */
async function setClock(seconds) {
  const next = join(folder, 'next');
  await writeFile(next, `${seconds < 0 ? '' : '+'}${seconds}s\n`);
  await rename(next, join(folder, 'clock'));
}

function token() {
  const made = spawnSync(
    SERVER,
    ['token', '--room', '*', '--identity', 'load', '--ttl', '30m', '--publish', '--subscribe'],
    {
      encoding: 'utf8',
      env: { PLENUM_KEY: KEY },
    },
  );
  assert.equal(made.status, 0, made.stderr);
  return made.stdout.trim();
}

test('media does not notice that the clock is set, and tokens do', { timeout: 120_000 }, async () => {
  await setClock(0);
  const faked = [
    `LD_PRELOAD=${process.env.PLENUM_FAKETIME ?? '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1'}`,
    `FAKETIME_TIMESTAMP_FILE=${join(folder, 'clock')}`,
    'FAKETIME_NO_CACHE=1',
    'FAKETIME_DONT_FAKE_MONOTONIC=1',
  ];
  server = await Server.start([`--key=${KEY}`, '--shards=1'], ['env', ...faked]);
  const sum = async (name, labels) => (await server.metrics()).sum(name, labels);
  const bearer = token();
  const door = async () => {
    const headers = { authorization: `Bearer ${bearer}` };
    return (
      await post(`${server.url}/whip/door/${Math.random().toString(36).slice(2)}`, publisherOffer(), headers)
    ).status;
  };
  call = spawn(
    LOADTEST,
    [...['broadcast', '--url', server.url, '--token', bearer], ...['--subscribers', '3', '--seconds', '90']],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const ended = once(call, 'exit');
  let said = '';
  for (const stream of [call.stdout, call.stderr]) stream.on('data', text => (said += text));
  await until('all are connected', async () => (await sum(/^plenum_sessions_connected$/)) === 4);
  assert.equal(await door(), 403, 'a token is for whom it names; it holds');

  /** Packets that come in and go out for a while; how many come is up to the machine. */
  const flow = async () => {
    const count = metrics => {
      const packets = direction => metrics.sum(/^plenum_packets_total$/, { direction });
      return { taken: packets('in'), sent: packets('out') };
    };
    const before = count(await server.metrics());
    await sleep(WATCHED_MS);
    const now = count(await server.metrics());
    return { taken: now.taken - before.taken, sent: now.sent - before.sent };
  };
  const usual = await flow();
  for (const [seconds, status] of [
    [3_600, 401],
    [-3_600, 403],
    [1, 403],
    [-1, 403],
    [0, 403],
  ]) {
    await setClock(seconds);
    await sleep(200);
    assert.equal(await door(), status, `a token at ${seconds} s`);
    const { taken, sent } = await flow();
    const seen = `${taken} packets came and ${sent} went at ${seconds} s; ${JSON.stringify(usual)} before`;
    assert.ok(taken > 0.5 * usual.taken, seen);
    assert.ok(sent / taken > 0.9 * (usual.sent / usual.taken), seen);
  }
  const metrics = await server.metrics();
  assert.equal(metrics.sum(/^plenum_sessions_closed_total$/, { reason: 'vanished' }), 0);
  const all = metrics.sum(/^plenum_forward_delay_seconds_count$/);
  const within = metrics.sum(/^plenum_forward_delay_seconds_bucket$/, { le: '1' });
  assert.equal(within, all, 'nothing took longer than a second');
  call.kill('SIGINT');
  const [code] = await ended;
  assert.equal(code, 0, `viewers lost something, or saw a freeze:\n${said}`);
});
