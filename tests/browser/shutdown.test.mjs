// The operator presses Ctrl-C, and everyone is told.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Chromium } from './lib/chromium.mjs';
import { events } from './lib/events.mjs';
import { post, viewerOffer } from './lib/offer.mjs';
import { Pages } from './lib/pages.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

let chromium, pages;
before(async () => {
  chromium = await Chromium.start();
  pages = await Pages.start();
});
after(() => Promise.all([chromium?.stop(), pages?.stop()]));

for (const signal of ['SIGINT', 'SIGTERM']) {
  test(`${signal} tells every participant, and the process ends well`, { timeout: 60_000 }, async () => {
    // SIGTERM gives everybody time to go to another server, which is not what this is about.
    const server = await Server.start(['--drain-deadline=0']);
    const door = `${server.url}/rooms/evening/sessions`;
    const opened = await post(door, viewerOffer());
    assert.equal(opened.status, 201, await opened.text());

    const heard = [];
    const stream = events(
      `${server.url}${opened.headers.get('Location')}/events`,
      AbortSignal.timeout(30_000),
    );
    const listening = (async () => {
      for await (const event of stream) heard.push(event);
    })();
    await until('the snapshot came', () => heard.length > 0);

    const started = performance.now();
    const end = await server.stop(signal);
    await listening;

    assert.deepEqual(end, { code: 0, signal: null }, server.lastWords);
    assert.ok(performance.now() - started < 5000, 'the end took longer than five seconds');
    const names = heard.map(({ name }) => name);
    assert.ok(names.includes('reconnect'), `heard ${names}`);
    assert.equal(names.at(-1), 'closed', `heard ${names}`);
    assert.equal(heard.at(-1).data.reason, 'shutdown');
  });
}

test('a browser sees the end of its connection at once, and comes back to a new server', {
  timeout: 90_000,
}, async () => {
  const server = await Server.start();
  const ada = await (await chromium.person()).open(`${pages.url}/modules.html`);
  await ada.page.waitForFunction(() => globalThis.modules);
  await ada.page.evaluate(url => modules.join(url, 'Ada'), server.url);
  const state = () => ada.page.evaluate(() => modules.room.state);
  const framesSent = async () =>
    (await ada.sent('video')).reduce((sum, stat) => sum + (stat.framesSent ?? 0), 0);
  await until('frames are sent', async () => (await framesSent()) > 10);

  const stopped = server.stop();
  await until('the page knows', async () => (await state()) === 'reconnecting', 5000);
  await stopped;
  await server.run();
  await until('the page is back', async () => (await state()) === 'joined', 30_000);
  await until('frames are sent again', async () => (await framesSent()) > 10);

  await ada.close();
  assert.equal((await server.stop()).code, 0, server.lastWords);
});
