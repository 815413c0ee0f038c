// Other people's JavaScript, untouched, in Chromium: the npm packages whip-whep, @eyevinn/whip-web-client
// and @eyevinn/webrtc-player; and Firefox with a page that knows the standards alone.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

import { Chromium } from '../browser/lib/chromium.mjs';
import { Firefox } from '../browser/lib/firefox.mjs';
import { Pages } from '../browser/lib/pages.mjs';
import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const LIBRARIES = fileURLToPath(new URL('./pages/libraries.js', import.meta.url));

async function bundle() {
  const { outputFiles } = await build({
    entryPoints: [LIBRARIES],
    bundle: true,
    format: 'iife',
    write: false,
  });
  return `<!doctype html><title>libraries</title><body><script>${outputFiles[0].text.replaceAll('</script', '<\\/script')}</script>`;
}

describe('pages of other makes', { timeout: 180_000 }, () => {
  let chromium, pages, server;
  let people;

  before(async () => {
    chromium = await Chromium.start();
    pages = await Pages.start({ '/libraries.html': await bundle() });
    server = await Server.start();
  });
  after(async () => {
    await Promise.all([chromium?.stop(), pages?.stop()]);
    const end = await server?.stop();
    assert.equal(end?.code, 0, server?.lastWords);
  });
  beforeEach(() => {
    people = [];
  });
  afterEach(() => Promise.all(people.map(person => person.close())));

  const open = async page => {
    const person = await (await chromium.person()).open(`${pages.url}/${page}.html`);
    people.push(person);
    return person;
  };
  const isSeenAndHeard = async person => {
    const first = await person.received('video');
    await until(`fifty more frames are decoded${person.lastWords}`, async () => {
      return (await person.growing('video', 'framesDecoded', first, 50)) === 1;
    });
    await until('sound is heard', async () =>
      (await person.received('audio')).some(({ totalAudioEnergy }) => totalAudioEnergy > 1e-6),
    );
  };
  const requests = async labels => (await server.metrics()).sum(/^plenum_http_requests_total$/, labels);
  const everybodyLeaves = () =>
    until('everybody has left', async () => (await server.metrics()).sum(/^plenum_sessions$/) === 0);

  test('whip-whep publishes and plays, trickles its candidates and restarts ICE while media flows', async () => {
    const [ada, bob] = [await open('libraries'), await open('libraries')];
    await ada.page.evaluate(url => murillo.publish(url), `${server.url}/whip/murillo/ada`);
    await bob.page.evaluate(url => murillo.play(url), `${server.url}/whep/murillo/ada`);
    await isSeenAndHeard(bob);
    await until('both trickled', async () => (await requests({ method: 'PATCH', status: '204' })) >= 2);

    for (const person of [ada, bob]) {
      const { before, after } = await person.page.evaluate(() => murillo.restart());
      assert.notEqual(before[0], after[0], 'the user fragment of the client');
      assert.notEqual(before[1], after[1], 'and that of the server');
      await isSeenAndHeard(bob);
    }
    assert.equal(await requests({ method: 'PATCH', status: '200' }), 2);
    for (const person of [ada, bob]) await person.page.evaluate(() => murillo.stop());
    await everybodyLeaves();
  });

  test('Eyevinn’s client asks by OPTIONS, publishes, and Eyevinn’s player plays', async () => {
    const [ada, bob] = [await open('libraries'), await open('libraries')];
    await ada.page.evaluate(url => eyevinn.publish(url), `${server.url}/whip/eyevinn/ada`);
    assert.ok((await requests({ method: 'OPTIONS', status: '200' })) >= 1);
    await bob.page.evaluate(url => eyevinn.play(url), `${server.url}/whep/eyevinn/ada`);
    await isSeenAndHeard(bob);
    for (const person of [ada, bob]) await person.page.evaluate(() => eyevinn.stop());
    await everybodyLeaves();
  });

  test('Firefox publishes and plays by the standards alone', async context => {
    const firefox = await Firefox.start();
    context.after(() => firefox.stop());
    await firefox.open(`${pages.url}/lab.html`);
    // One tab does both: a tab in the background has its camera slowed down.
    const seen = await firefox.page.evaluate(
      async ([publish, watch]) => {
        await lab.publish(publish, { simulcast: false });
        return await lab.watch(watch);
      },
      [`${server.url}/whip/fox/ada`, `${server.url}/whep/fox/ada`],
    );
    assert.notEqual(seen.firstFrameMs, null, 'no frame was decoded');
    const bob = await open('lab');
    await bob.page.waitForFunction(() => globalThis.lab);
    const { firstFrameMs } = await bob.page.evaluate(url => lab.watch(url), `${server.url}/whep/fox/ada`);
    assert.notEqual(firstFrameMs, null, 'Chromium sees Firefox');
    await isSeenAndHeard(bob);
    const before = await firefox.framesDecoded();
    await until('Firefox sees on', async () => (await firefox.framesDecoded()) > before + 30);
    await firefox.page.evaluate(async () => {
      for (const session of [0, 1]) await lab.stop(session);
    });
    assert.deepEqual(firefox.errors, []);
  });
});
