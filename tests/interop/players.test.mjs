// Other people's players by WHEP, untouched, while Chromium publishes by WHIP.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Chromium } from '../browser/lib/chromium.mjs';
import { Pages } from '../browser/lib/pages.mjs';
import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';
import { aiortc, Client, gstreamer, libdatachannel, libwebrtc, pion, werift } from './lib/clients.mjs';

/** Those with a decoder count decoded frames and sound; `libdatachannel`, Pion and werift whole frames as they arrive. */
const PLAYERS = [
  { name: 'GStreamer', command: gstreamer, codec: 'VP8' },
  { name: 'GStreamer', command: gstreamer, codec: 'H264' },
  { name: 'libdatachannel', command: libdatachannel, codec: 'H264' },
  { name: 'libdatachannel', command: libdatachannel, codec: 'VP8', long: true },
  { name: 'aiortc', command: aiortc, codec: 'VP8' },
  { name: 'aiortc', command: aiortc, codec: 'H264', long: true },
  { name: 'Pion', command: pion, codec: 'H264' },
  { name: 'Pion', command: pion, codec: 'VP8', long: true },
  { name: 'werift', command: werift, codec: 'VP8', long: true },
  { name: 'libwebrtc for Node', command: libwebrtc, codec: 'VP8', long: true },
].filter(({ long }) => !long || process.env.PLENUM_LONG);

describe('players of other makes', { timeout: 300_000 }, () => {
  let chromium, pages, server;

  before(async () => {
    chromium = await Chromium.start();
    pages = await Pages.start();
    server = await Server.start();
  });
  after(async () => {
    await Promise.all([chromium?.stop(), pages?.stop()]);
    const end = await server?.stop();
    assert.equal(end?.code, 0, server?.lastWords);
  });

  for (const codec of ['VP8', 'H264']) {
    describe(`of ${codec}`, () => {
      let camera;

      before(async () => {
        camera = await (await chromium.person()).open(`${pages.url}/lab.html`);
        await camera.page.waitForFunction(() => globalThis.lab);
        await camera.page.evaluate(
          ([url, codec]) => lab.publish(url, { codec, simulcast: false }),
          [`${server.url}/whip/stage-${codec}/camera`, codec],
        );
      });
      after(() => camera?.close());

      for (const { name, command } of PLAYERS.filter(player => player.codec === codec)) {
        test(`${name} sees and hears`, async context => {
          const player = new Client(command('play', `${server.url}/whep/stage-${codec}/camera`, codec));
          context.after(() => player.kill());
          await until('two seconds are seen and one is heard', () => {
            player.assertRunning();
            return player.told.frames >= 40 && player.told.audio >= 50;
          }).catch(error => assert.fail(error.message + player.lastWords));
          assert.equal(player.told.gaps ?? 0, 0, 'no packet was missing');
          await player.end('SIGTERM');
          assert.equal(player.told.left, 200, player.lastWords);
        });
      }
    });
  }
});
