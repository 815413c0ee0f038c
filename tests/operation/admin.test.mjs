// The operator asks why a call is as it is, and sends the server away.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const LOADTEST =
  process.env.PLENUM_LOADTEST ?? fileURLToPath(new URL('../../target/debug/loadtest', import.meta.url));
const SERVER =
  process.env.PLENUM_SERVER ?? fileURLToPath(new URL('../../target/debug/plenum', import.meta.url));

let server, meeting;

before(async () => {
  server = await Server.start();
  meeting = spawn(
    LOADTEST,
    [
      ...['conference', '--url', server.url, '--rooms', '1', '--people', '3', '--slots', '2'],
      ...['--simulcast', '--seconds', '60', '--max-loss', '100', '--max-video-loss', '100'],
    ],
    { stdio: 'ignore' },
  );
});

after(async () => {
  meeting?.kill('SIGKILL');
  await server?.stop();
});

const ask = async path => {
  const response = await fetch(`${server.operatorUrl}${path}`);
  return { status: response.status, body: response.ok ? await response.json() : null };
};

test('rooms and people are listed, and each slot says what flows and why', { timeout: 60_000 }, async () => {
  const room = await until('three people are connected', async () => {
    const { body } = await ask('/rooms');
    return body.find(({ sessions }) => sessions.filter(({ connected }) => connected).length === 3);
  });
  const { participant } = room.sessions[0];
  const path = `/rooms/${encodeURIComponent(room.room)}/participants/${encodeURIComponent(participant)}/stats`;
  const report = await until('both pictures flow', async () => {
    const { body } = await ask(path);
    const flows = slot =>
      slot.kind === 'video' && slot.state === 'it flows' && slot.flows.bits_per_second > 0;
    const flowing = body[0].slots.filter(flows);
    const camera = body[0].tracks.find(({ kind }) => kind === 'video');
    return flowing.length === 2 && camera.layers.length === 3 ? body[0] : null;
  });
  for (const slot of report.slots.filter(({ kind }) => kind === 'video')) {
    assert.ok(slot.flows.bits_per_second > 0 && slot.sent_packets > 0, JSON.stringify(slot));
    assert.notEqual(slot.publisher, participant);
  }
  assert.ok(report.recent.some(({ what }) => what === 'connected'));
  assert.equal((await ask('/rooms/nowhere/participants/nobody/stats')).status, 404);
});

test('what somebody saw is recorded, and replayed by the same program', { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'plenum-recording-'));
  try {
    const [room] = (await ask('/rooms')).body;
    const person = `/rooms/${room.room}/participants/${room.sessions[0].participant}`;
    const record = (method, query = '') => fetch(`${server.operatorUrl}${person}/record${query}`, { method });
    assert.equal((await record('POST', '?seconds=60')).status, 202);
    const path = join(folder, 'call.json');
    const replayed = await until('a choice was recorded', async () => {
      const recorded = await record('DELETE');
      if (!recorded.ok) throw new Error(`${recorded.status} ${await recorded.text()}`);
      await writeFile(path, await recorded.text());
      const done = spawnSync(SERVER, ['replay', path], { encoding: 'utf8' });
      await record('POST', '?seconds=60');
      return done.stdout.split('\n').length > 3 && done;
    });
    assert.equal(replayed.status, 0, `${replayed.stdout}${replayed.stderr}`);
    assert.match(replayed.stdout, /^recording 1\n/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a drain takes nobody in, keeps who is there, and ends when they have left', {
  timeout: 60_000,
}, async () => {
  const drained = await fetch(`${server.operatorUrl}/drain?deadline=600`, { method: 'POST' });
  assert.equal(drained.status, 202);
  assert.equal((await drained.json()).sessions, 3);
  assert.equal((await fetch(`${server.operatorUrl}/readyz`)).status, 503);
  const refused = await fetch(`${server.url}/whep/demo`, {
    method: 'POST',
    headers: { 'content-type': 'application/sdp' },
    body: 'v=0',
  });
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  const sent = async () => (await server.metrics()).sum(/^plenum_packets_total$/, { direction: 'out' });
  const before = await sent();
  await until('media goes on', async () => (await sent()) > before + 100);

  assert.equal(meeting.exitCode, null, 'the meeting is over by itself');
  const gone = once(meeting, 'exit');
  meeting.kill('SIGKILL');
  await gone;
  await until('the server has ended', () => !server.isRunning, 30_000);
  assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.lastWords);
});
