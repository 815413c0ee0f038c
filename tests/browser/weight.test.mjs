// How much comes over the network before one can do something, counted in bytes: what a test of time
// would say depends on what else the machine does.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gathering } from './lib/gathering.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

/** With headers; 150 KiB are a second on a link of 1.2 Mbit/s, and it is to stay clear of that: it is 124. */
const MOST_BYTES = 140 * 1024;

/**
 * What a first paint waits for, compressed: three style sheets at the most, of 6 KB, and nothing that they or
 * a script would have to ask for first. All else that a page begins with comes behind them.
 */
const BEFORE_PAINT = { styles: 3, bytes: 7 * 1024 };
/** How many modules a page begins with: on loopback each of them takes some of the processor that paints. */
const MODULES = { '/': 7, '/r/light': 20, '/publish/light': 20, '/watch/light': 14 };

describe('the weight of the page', { timeout: 120_000 }, () => {
  let gathering, server, ada, bea;

  before(async () => {
    gathering = await Gathering.of(['Ada', 'Bea']);
    server = gathering.server;
    ({ Ada: ada, Bea: bea } = gathering.people);
  });
  after(() => gathering?.end());

  /** Counts what a page transfers from now on, answers with headers included. */
  async function scales({ context, page }) {
    const transferred = { bytes: 0, paths: new Set(), hosts: new Set() };
    const paths = new Map();
    const devtools = await context.newCDPSession(page);
    await devtools.send('Network.enable');
    devtools.on('Network.requestWillBeSent', ({ requestId, request }) => {
      const { pathname, host } = new URL(request.url);
      paths.set(requestId, pathname);
      transferred.hosts.add(host);
    });
    devtools.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
      transferred.bytes += encodedDataLength;
      transferred.paths.add(paths.get(requestId));
    });
    return transferred;
  }

  for (const [path, modules] of Object.entries(MODULES)) {
    test(`little stands between ${path} and its first paint`, async () => {
      const devtools = await ada.context.newCDPSession(ada.page);
      await devtools.send('Network.enable');
      const priorities = new Map();
      devtools.on('Network.requestWillBeSent', ({ request: { url, initialPriority } }) =>
        priorities.set(new URL(url).pathname, initialPriority),
      );
      await ada.open(server.url + path);
      await ada.page.getByRole('button').first().waitFor();
      const resources = await ada.page.evaluate(() =>
        performance
          .getEntriesByType('resource')
          .map(({ name, renderBlockingStatus, encodedBodySize }) => [
            new URL(name).pathname,
            renderBlockingStatus === 'blocking',
            encodedBodySize,
          ]),
      );
      const blocking = resources.filter(([, isBlocking]) => isBlocking);
      const bytes = blocking.reduce((sum, [, , size]) => sum + size, 0);
      assert.ok(blocking.length > 0 && blocking.length <= BEFORE_PAINT.styles, `${blocking}`);
      assert.ok(bytes <= BEFORE_PAINT.bytes, `${bytes} bytes: ${blocking}`);
      for (const [style] of blocking) assert.match(style, /^\/css\//);
      const named = await ada.page.locator('script, link[rel=modulepreload]').count();
      assert.ok(named <= modules, `${named} modules`);
      // A player's modules are in a hurry: nobody came to see its empty page.
      if (path.startsWith('/watch/')) return;
      for (const link of await ada.page.locator('link[rel=modulepreload]').all()) {
        const module = await link.getAttribute('href');
        assert.equal(priorities.get(module), 'Low', module);
      }
    });
  }

  test('a page begins to show before any of its modules is there', async () => {
    const context = await gathering.chromium.browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    for (const path of ['/', '/r/light', '/publish/light']) {
      await page.goto(server.url + path);
      assert.ok(await page.getByRole('link', { name: 'Plenum' }).isVisible(), path);
    }
    await context.close();
  });

  test('the front page comes without what only a call needs', async () => {
    const transferred = await scales(ada);
    await ada.open(`${server.url}/`);
    await ada.page.getByRole('button').first().waitFor();
    await until(
      'all has come',
      () => transferred.paths.has('/app/front.js') && transferred.paths.has('/icons.svg'),
    );
    for (const path of ['/app/main.js', '/room.js', '/css/call.css', '/css/stage.css', '/css/talk.css'])
      assert.ok(!transferred.paths.has(path), `${path} was loaded`);
    assert.ok(transferred.bytes < MOST_BYTES, `${transferred.bytes} bytes`);
  });

  test('a call comes as a whole within that, for whoever has never been here', async () => {
    const transferred = await scales(bea);
    await ui.join(bea, server, 'light', 'Bea');
    await until('all has come', () => transferred.paths.has('/app/call.js'));
    console.log(`a call: ${transferred.bytes} bytes in ${transferred.paths.size} files`);
    assert.ok(transferred.bytes < MOST_BYTES, `${transferred.bytes} bytes`);
    assert.ok(!transferred.paths.has('/strings/de.js'), 'a language was loaded that nobody reads');
    for (const path of ['/connection-test.js', '/frame-crypto.js', '/app/confirm.js', '/app/pip.js'])
      assert.ok(!transferred.paths.has(path), `${path} was loaded, and nobody asked for it`);
    assert.deepEqual([...transferred.hosts], [new URL(server.url).host], 'something came from elsewhere');
  });
});
