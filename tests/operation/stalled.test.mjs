// One viewer by TCP stops reading, in a room of many: its queue is bounded, and the others notice nothing.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const LOADTEST =
  process.env.PLENUM_LOADTEST ?? fileURLToPath(new URL('../../target/debug/loadtest', import.meta.url));
/** How many others there are, by UDP and by TCP. */
const OTHERS = process.env.PLENUM_LONG ? 49 : 12;
/** How much a room sends, so that what the kernel takes for a connection is full soon. */
const KBPS = 6_000;

const children = [];
let server;
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  await server?.stop();
});

function start(args, stdout = 'ignore') {
  const child = spawn(LOADTEST, args, { stdio: ['ignore', stdout, 'ignore'] });
  children.push(child);
  return child;
}

/** Runs to its end, and gives what it says. */
async function report(args) {
  const child = start([...args, '--json', '--max-loss', '100'], 'pipe');
  const pieces = [];
  child.stdout.on('data', piece => pieces.push(piece));
  await once(child, 'close');
  return JSON.parse(Buffer.concat(pieces));
}

test('a viewer who stops reading its connection costs the others nothing', {
  timeout: 120_000,
}, async context => {
  server = await Server.start(['--shards=1', '--max-load=1']);
  const sum = async (name, labels) => (await server.metrics()).sum(name, labels);
  const room = ['--whip', `${server.url}/whip/hall`, '--whep', `${server.url}/whep/hall`];
  start([
    'broadcast',
    ...room.slice(0, 2),
    '--video-kbps',
    `${KBPS}`,
    '--seconds',
    '100',
    '--max-loss',
    '100',
  ]);
  await until('somebody publishes', async () => (await sum(/^plenum_sessions_connected$/)) === 1);
  const viewer = ['broadcast', ...room.slice(2)];
  const stalled = start([...viewer, '--tcp', '--subscribers', '1', '--seconds', '90', '--max-loss', '100']);
  await until('it watches', async () => (await sum(/^plenum_sessions_connected$/)) === 2);

  const watch = async () => {
    const others = ['--subscribers', `${OTHERS}`, '--seconds', '8'];
    const [udp, tcp] = await Promise.all([
      report([...viewer, ...others]),
      report([...viewer, '--tcp', '--subscribers', '2', '--seconds', '8']),
    ]);
    for (const { totals } of [udp, tcp]) {
      // A load test on the same two processors may itself be late for a few.
      assert.ok(totals.lost_percent < 0.01, `${totals.lost_percent} % lost`);
    }
    return udp.totals.delay.p99_ms;
  };
  const before = await watch();
  stalled.kill('SIGSTOP');
  const dropped = () => sum(/^plenum_tcp_drops_total$/, { reason: 'slow_receiver' });
  await until('what waits for it is more than may wait', async () => (await dropped()) > 0, 60_000);
  const during = await watch();
  assert.ok((await dropped()) > 1_000, 'all the while');
  context.diagnostic(`p99 of ${OTHERS} others: ${before.toFixed(2)} ms, then ${during.toFixed(2)} ms`);
});
