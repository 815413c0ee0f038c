// How much comes over the network before one can do something, counted in bytes: what a test of time
// would say depends on what else the machine does.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gathering } from './lib/gathering.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

/** With headers; 150 KiB are a second on a link of 1.2 Mbit/s. */
const MOST_BYTES = 150 * 1024;

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
    const transferred = { bytes: 0, paths: new Set() };
    const paths = new Map();
    const devtools = await context.newCDPSession(page);
    await devtools.send('Network.enable');
    devtools.on('Network.requestWillBeSent', ({ requestId, request }) =>
      paths.set(requestId, new URL(request.url).pathname),
    );
    devtools.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
      transferred.bytes += encodedDataLength;
      transferred.paths.add(paths.get(requestId));
    });
    return transferred;
  }

  test('the front page comes without what only a call needs', async () => {
    const transferred = await scales(ada);
    await ada.open(`${server.url}/`);
    await ada.page.getByRole('button').first().waitFor();
    await until(
      'all has come',
      () => transferred.paths.has('/app/main.js') && transferred.paths.has('/icons.svg'),
    );
    for (const path of ['/app/call.js', '/css/call.css', '/css/stage.css', '/css/talk.css'])
      assert.ok(!transferred.paths.has(path), `${path} was loaded`);
    assert.ok(transferred.bytes < MOST_BYTES, `${transferred.bytes} bytes`);
  });

  test('a call comes as a whole within that, for whoever has never been here', async () => {
    const transferred = await scales(bea);
    await ui.join(bea, server, 'light', 'Bea');
    await until('all has come', () => transferred.paths.has('/app/call.js'));
    assert.ok(transferred.bytes < MOST_BYTES, `${transferred.bytes} bytes`);
    assert.ok(!transferred.paths.has('/strings/de.js'), 'a language was loaded that nobody reads');
  });
});
