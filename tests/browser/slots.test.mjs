// Slots in a real browser: what they show changes all the time, and the page's tracks never do.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Chromium } from './lib/chromium.mjs';
import { Pages } from './lib/pages.mjs';
import { Server } from './lib/server.mjs';

const SLOTS = 49;
const CHANGES = 1000;

describe('forty-nine slots', { timeout: 90_000 }, () => {
  let chromium, pages, server, publishers, viewer;

  before(async () => {
    [chromium, pages, server] = await Promise.all([Chromium.start(), Pages.start(), Server.start()]);
    publishers = await chromium.person();
    viewer = await chromium.person();
    for (const person of [publishers, viewer]) await person.open(`${pages.url}/lab.html`);
    for (const name of ['ada', 'ben']) {
      const url = `${server.url}/whip/hall/${name}`;
      await publishers.page.evaluate(async url => {
        const { publish } = await import('/lab.js');
        await publish(url, { simulcast: false });
      }, url);
    }
  });
  after(async () => {
    await Promise.all([chromium?.stop(), pages?.stop()]);
    const end = await server?.stop();
    assert.equal(end?.code, 0, server?.lastWords);
  });

  test('R8: a thousand changes of bindings fire no further track', async () => {
    const door = `${server.url}/rooms/hall/sessions`;
    const seen = await viewer.page.evaluate(watchSlots, { door, slots: SLOTS, changes: CHANGES });
    assert.equal(seen.tracks, SLOTS, `${seen.tracks} tracks were fired`);
    assert.ok(seen.bindings >= CHANGES, `only ${seen.bindings} bindings`);
    assert.equal(seen.transceivers, SLOTS);
    assert.ok(seen.moving > 0, 'nothing is shown at the end');
  });
});

/** Runs in the page: joins with slots alone, and pins one of two cameras to each, now this, now that. */
async function watchSlots({ door, slots, changes }) {
  const seen = { tracks: 0, bindings: 0 };
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  pc.addEventListener('track', () => {
    seen.tracks += 1;
  });
  for (let n = 0; n < slots; n += 1) pc.addTransceiver('video', { direction: 'recvonly' });
  await pc.setLocalDescription();
  const headers = { 'Content-Type': 'application/sdp' };
  const joined = await fetch(door, { method: 'POST', headers, body: pc.localDescription.sdp });
  await pc.setRemoteDescription({ type: 'answer', sdp: await joined.text() });
  const session = new URL(joined.headers.get('Location'), door).href;
  const events = new EventSource(`${session}/events`);
  const cameras = new Set();
  const noteTrack = ({ kind, id }) => kind === 'video' && cameras.add(id);
  events.addEventListener('snapshot', ({ data }) => JSON.parse(data).tracks.forEach(noteTrack));
  events.addEventListener('track', ({ data }) => noteTrack(JSON.parse(data)));
  events.addEventListener('binding', () => {
    seen.bindings += 1;
  });
  const until = async holds => {
    while (!holds()) await new Promise(resolve => setTimeout(resolve, 20));
  };
  await until(() => cameras.size === 2 && pc.connectionState === 'connected');
  const [one, other] = cameras;
  const mids = pc.getTransceivers().map(({ mid }) => mid);
  for (let round = 0; seen.bindings < changes; round += 1) {
    const wished = mids.map((mid, n) => [mid, { track: (n + round) % 2 ? one : other }]);
    const body = JSON.stringify({ slots: Object.fromEntries(wished), rest: null });
    const put = { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body };
    const answer = await fetch(`${session}/subscriptions`, put);
    if (answer.status !== 200) throw new Error(`PUT answered ${answer.status}: ${await answer.text()}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  const decoded = async () => {
    const stats = [...(await pc.getStats()).values()];
    return stats.filter(({ type, framesDecoded }) => type === 'inbound-rtp' && framesDecoded > 0).length;
  };
  for (let look = 0; look < 100 && (await decoded()) === 0; look += 1) {
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  const result = { ...seen, transceivers: pc.getTransceivers().length, moving: await decoded() };
  await fetch(session, { method: 'DELETE' });
  pc.close();
  events.close();
  return result;
}
