// Other people's publishers by WHIP, untouched: GStreamer's webrtcbin (libnice, OpenSSL, an RSA
// certificate), FFmpeg (its own ICE and DTLS, `setup:passive`), libdatachannel (the stack of OBS),
// aiortc, Pion, and, in the long run, werift and libwebrtc's package for Node. Chromium watches by WHEP.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Chromium } from '../browser/lib/chromium.mjs';
import { Pages } from '../browser/lib/pages.mjs';
import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';
import {
  aiortc,
  Client,
  FFMPEG_KEYFRAMES_MS,
  ffmpeg,
  gstreamer,
  libdatachannel,
  libdatachannelHigh,
  libwebrtc,
  pion,
  werift,
} from './lib/clients.mjs';

/** The long run has all. */
const LONG = Boolean(process.env.PLENUM_LONG);

const PUBLISHERS = [
  { name: 'GStreamer', command: gstreamer, codec: 'VP8' },
  { name: 'GStreamer', command: gstreamer, codec: 'H264' },
  { name: 'FFmpeg', command: ffmpeg(), codec: 'H264', signal: 'SIGINT' },
  {
    name: 'FFmpeg as DTLS client',
    command: ffmpeg('-whip_flags dtls_active'),
    codec: 'H264',
    signal: 'SIGINT',
  },
  { name: 'libdatachannel', command: libdatachannel, codec: 'H264' },
  { name: 'libdatachannel of an unlisted profile', command: libdatachannelHigh, codec: 'H264' },
  { name: 'libdatachannel', command: libdatachannel, codec: 'VP8', long: true },
  { name: 'aiortc', command: aiortc, codec: 'VP8' },
  { name: 'aiortc', command: aiortc, codec: 'H264', long: true },
  { name: 'Pion', command: pion, codec: 'H264' },
  { name: 'Pion', command: pion, codec: 'VP8', long: true },
  { name: 'werift', command: werift, codec: 'VP8', long: true },
  { name: 'libwebrtc for Node', command: libwebrtc, codec: 'VP8', long: true },
].filter(({ long }) => LONG || !long);

describe('publishers of other makes', { timeout: 300_000 }, () => {
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

  const gauge = async name => (await server.metrics()).sum(name);
  const publish = async (context, command, room, codec) => {
    const publisher = new Client(command('publish', `${server.url}/whip/${room}/camera`, codec));
    context.after(() => publisher.kill());
    await until('the publisher is connected', async () => {
      publisher.assertRunning();
      return (await gauge(/^plenum_sessions_connected$/)) === 1;
    });
    return publisher;
  };
  const watch = async (context, room, publisher) => {
    const viewer = await (await chromium.person()).open(`${pages.url}/lab.html`);
    context.after(() => viewer.close());
    await viewer.page.waitForFunction(() => globalThis.lab);
    const watched = await viewer.page.evaluate(url => lab.watch(url), `${server.url}/whep/${room}/camera`);
    assert.notEqual(watched.firstFrameMs, null, `no frame was decoded; ${publisher.lastWords}`);
    context.diagnostic(`first frame after ${Math.round(watched.firstFrameMs)} ms`);
    return { ...watched, page: viewer.page };
  };
  const leave = async (publisher, signal) => {
    await publisher.end(signal);
    await until('everybody has left', async () => (await gauge(/^plenum_sessions$/)) === 0);
  };

  for (const { name, command, codec, signal = 'SIGTERM' } of PUBLISHERS) {
    test(`${name} with ${codec} is seen and heard`, async context => {
      const room = `${name}-${codec}`.toLowerCase().replaceAll(' ', '-');
      const publisher = await publish(context, command, room, codec);
      const { page, session } = await watch(context, room, publisher);

      const received = () => page.evaluate(id => lab.received(id), session);
      await until('a hundred frames are decoded', async () => (await received()).video.framesDecoded > 100);
      await until('sound is heard', async () => (await received()).audio?.totalAudioEnergy > 1e-6);
      const { video, audio } = await received();
      assert.equal(video.packetsLost + audio.packetsLost, 0, 'packets were lost');
      assert.deepEqual(await page.evaluate(() => media.codecs('video')), [`video/${codec}`]);

      await page.evaluate(id => lab.stop(id), session);
      await leave(publisher, signal);
    });
  }

  test('GStreamer, which sends no checks once it is connected, stays', { skip: !LONG }, async context => {
    const publisher = await publish(context, gstreamer, 'long', 'VP8');
    const player = new Client(gstreamer('play', `${server.url}/whep/long/camera`, 'VP8'));
    context.after(() => player.kill());
    // Much longer than the checks of ICE alone would keep anybody.
    await sleep(45_000);
    const { frames } = player.told;
    await until('the picture goes on', () => player.told.frames > frames + 30);
    assert.equal(await gauge(/^plenum_sessions_connected$/), 2, publisher.lastWords);
    await player.end('SIGTERM');
    await leave(publisher, 'SIGTERM');
  });

  test('who comes late to FFmpeg sees a picture at its next keyframe, which nobody can ask for', async context => {
    const publisher = await publish(context, ffmpeg(), 'late', 'H264');
    // Between two keyframes, far from either.
    await sleep(1.5 * FFMPEG_KEYFRAMES_MS);
    const viewers = [];
    for (let n = 0; n < 3; n += 1) viewers.push(await watch(context, 'late', publisher));
    for (const { firstFrameMs } of viewers) {
      // And a second to connect.
      assert.ok(firstFrameMs < FFMPEG_KEYFRAMES_MS + 1000, `waited ${firstFrameMs} ms`);
    }
    for (const { page, session } of viewers) await page.evaluate(id => lab.stop(id), session);
    await leave(publisher, 'SIGINT');
  });
});
