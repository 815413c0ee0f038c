// Two browsers hold a call without the server: it passes on their messages, and no media.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Chromium } from './lib/chromium.mjs';
import { Server } from './lib/server.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

/** Media packets that the server took in or sent. */
const carried = async server => (await server.metrics()).sum(/^plenum_packets_total$/);

describe('a direct call', { timeout: 90_000 }, () => {
  const browsers = [];
  let server, ada, ben;

  before(async () => {
    server = await Server.start();
    browsers.push(await Chromium.start(), await Chromium.start());
    [ada, ben] = await Promise.all(browsers.map(browser => browser.person()));
  });
  after(async () => {
    await Promise.all(browsers.map(browser => browser.stop()));
    const end = await server?.stop();
    for (const person of [ada, ben]) {
      const uncaught = person?.log.filter(line => line.startsWith('uncaught')) ?? [];
      assert.deepEqual(uncaught, [], 'a page had errors');
    }
    assert.equal(end?.code, 0, server?.lastWords);
  });

  async function seeAndHearEachOther() {
    for (const person of [ada, ben]) {
      await person.page.getByText('You are connected directly.').waitFor();
      await until('the other moves', () =>
        person.page.getByLabel('The other’s picture').evaluate(async video => {
          const frames = () => video.getVideoPlaybackQuality().totalVideoFrames;
          const before = frames();
          await new Promise(resolve => setTimeout(resolve, 200));
          return video.videoWidth > 0 && frames() > before;
        }),
      );
      const before = await person.received('audio');
      await until(
        'the other is heard',
        async () => (await person.growing('audio', 'totalAudioEnergy', before, 1e-6)) === 1,
      );
    }
  }

  test('two who open the page see and hear each other, and the server carries none of it', async () => {
    await ada.open(`${server.url}/direct/duo`);
    await ada.page.getByText('Waiting for somebody else').waitFor();
    await ben.open(`${server.url}/direct/duo`);
    await seeAndHearEachOther();
    assert.equal(await carried(server), 0, 'media went by way of the server');
  });

  test('who goes is waited for, and who comes back is called again', async () => {
    await ui.press(ben, 'Hang up');
    await ben.page.getByText('The call is over.').waitFor();
    await ada.page.getByText('Waiting for somebody else').waitFor();
    await ben.page.reload();
    await seeAndHearEachOther();
  });

  test('two who come at the same time find each other, too', async () => {
    await Promise.all([ada, ben].map(person => person.open(`${server.url}/direct/other`)));
    await seeAndHearEachOther();
  });
});
