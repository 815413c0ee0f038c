// A server is told to go while people are in a call: who is there stays as long as they may, and whoever
// is in a hurry says so twice.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { afterEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const LOADTEST =
  process.env.PLENUM_LOADTEST ?? fileURLToPath(new URL('../../target/debug/loadtest', import.meta.url));
/** Goodbyes take five seconds at most. */
const AT_ONCE_MS = 8_000;

let server, call;
afterEach(async () => {
  call?.kill('SIGKILL');
  await server?.stop();
});

/** A server with two people in a call, once media flows. */
async function talking(...options) {
  server = await Server.start(options);
  call = spawn(
    LOADTEST,
    [
      ...['conference', '--url', server.url, '--rooms', '1', '--people', '2', '--slots', '1'],
      ...['--seconds', '60', '--max-loss', '100', '--max-video-loss', '100'],
    ],
    { stdio: 'ignore' },
  );
  const connected = async () => (await server.metrics()).sum(/^plenum_sessions_connected$/);
  await until('both are connected', async () => (await connected()) === 2);
  await flows();
}

async function flows() {
  const sent = async () => (await server.metrics()).sum(/^plenum_packets_total$/, { direction: 'out' });
  const before = await sent();
  await until('media flows', async () => (await sent()) > before + 300);
}

const terminate = () => process.kill(server.pid, 'SIGTERM');
const isReady = async () => (await fetch(`${server.operatorUrl}/readyz`)).ok;

/** Ends the server by one more signal, and asserts that it is no long farewell. */
async function endsAtOnce() {
  const begun = performance.now();
  assert.deepEqual(await server.stop('SIGTERM'), { code: 0, signal: null }, server.lastWords);
  const took = performance.now() - begun;
  assert.ok(took < AT_ONCE_MS, `the end took ${took} ms`);
}

test('after a first signal the call goes on, and a second one ends it; the log has two lines for each', {
  timeout: 60_000,
}, async () => {
  await talking('--drain-deadline=600', '--log-format=json');
  terminate();
  await until('nobody new is sent here', async () => !(await isReady()), 1_000);
  await flows();
  assert.ok(server.isRunning, server.lastWords);
  await endsAtOnce();
  const lines = server.log
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  const said = text => lines.filter(({ message }) => message === text);
  const [opened, ended] = [said('session opened'), said('session ended')];
  const sessions = list => list.map(({ session }) => session).sort();
  assert.equal(opened.length, 2, server.lastWords);
  assert.deepEqual(sessions(opened), sessions(ended));
  for (const { reason, connected_after_ms, lasted_ms } of ended) {
    assert.equal(reason, 'shutdown');
    assert.ok(connected_after_ms >= 0 && lasted_ms > connected_after_ms);
  }
});

test('what an operator asked for stands when the orchestrator sends its signal', {
  timeout: 60_000,
}, async () => {
  await talking('--drain-deadline=1');
  const asked = await fetch(`${server.operatorUrl}/drain?deadline=600`, { method: 'POST' });
  assert.deepEqual(await asked.json(), { deadline_seconds: 600, sessions: 2 });
  terminate();
  for (let second = 0; second < 3; second += 1) await flows();
  assert.ok(server.isRunning, server.lastWords);
  await endsAtOnce();
});
