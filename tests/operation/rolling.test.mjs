// A server is replaced, again and again, while people are in a call: each one goes in time, leaves its
// ports, and the next is there at once. Five times; with PLENUM_LONG=1 a hundred.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const LOADTEST =
  process.env.PLENUM_LOADTEST ?? fileURLToPath(new URL('../../target/debug/loadtest', import.meta.url));
const RESTARTS = process.env.PLENUM_LONG ? 100 : 5;
/** How long sessions may stay once they were told, and how long the process may take after that. */
const DRAIN_S = 1;
const GRACE_MS = 5_000;

test('restart after restart nobody gets stuck, and no port, file or memory is lost', {
  timeout: RESTARTS * 15_000 + 60_000,
}, async context => {
  const server = await Server.start([`--drain-deadline=${DRAIN_S}`]);
  const sum = async (name, labels) => (await server.metrics()).sum(name, labels);
  const holdings = async () => {
    const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
    const files = (await readdir(`/proc/${server.pid}/fd`)).length;
    return { kib: Number(/VmRSS:\s+(\d+)/.exec(status)[1]), files };
  };
  let first;
  let slowest = 0;
  for (let restart = 0; restart < RESTARTS; restart += 1) {
    const call = spawn(
      LOADTEST,
      ['broadcast', '--url', server.url, '--subscribers', '5', '--seconds', '60', '--max-loss', '100'],
      { stdio: 'ignore' },
    );
    const gone = once(call, 'exit');
    try {
      await until('all are connected', async () => (await sum(/^plenum_sessions_connected$/)) === 6);
      await until(
        'media flows',
        async () => (await sum(/^plenum_packets_total$/, { direction: 'out' })) > 100,
      );
      const held = await holdings();
      first ??= held;
      assert.ok(held.files <= first.files + 4, `${held.files} files, ${first.files} at first`);
      assert.ok(held.kib <= 1.2 * first.kib, `${held.kib} KiB, ${first.kib} at first`);
      const begun = performance.now();
      const end = await server.stop('SIGTERM');
      const took = performance.now() - begun;
      slowest = Math.max(slowest, took);
      assert.deepEqual(end, { code: 0, signal: null }, server.lastWords);
      assert.ok(took < DRAIN_S * 1000 + GRACE_MS, `the end took ${took} ms`);
    } finally {
      call.kill('SIGKILL');
      await gone;
    }
    await server.run();
    assert.equal(await sum(/^plenum_sessions$/), 0);
  }
  context.diagnostic(`${RESTARTS} restarts; the slowest end took ${slowest.toFixed(0)} ms`);
  await server.stop();
});
