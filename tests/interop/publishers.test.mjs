// Other people's publishers by WHIP, untouched: GStreamer's webrtcbin (libnice, OpenSSL, an RSA
// certificate) and FFmpeg (its own ICE and DTLS, `setup:passive`). Chromium watches by WHEP.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Chromium } from '../browser/lib/chromium.mjs';
import { Pages } from '../browser/lib/pages.mjs';
import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const WEBRTCBIN = fileURLToPath(new URL('./webrtcbin.py', import.meta.url));
// Debian's own Python has Debian's GStreamer bindings.
const PYTHON = '/usr/bin/python3';
const FFMPEG = process.env.FFMPEG ?? 'ffmpeg';

const gstreamer = codec => url => [PYTHON, WEBRTCBIN, url, codec];

/** A keyframe every two seconds: FFmpeg offers no feedback by which one could be asked for. */
const ffmpeg = (more = '') => {
  const inputs =
    '-re -f lavfi -i testsrc2=size=640x360:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000';
  const video =
    '-c:v libx264 -profile:v baseline -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 60 -bf 0';
  const audio = '-c:a libopus -ac 2 -b:a 64k';
  return url =>
    `${FFMPEG} -hide_banner -loglevel warning ${inputs} ${video} ${audio} ${more} -f whip ${url}`.split(/ +/);
};

const PUBLISHERS = [
  { name: 'GStreamer with VP8', command: gstreamer('VP8'), codec: 'VP8', signal: 'SIGTERM' },
  { name: 'GStreamer with H264', command: gstreamer('H264'), codec: 'H264', signal: 'SIGTERM' },
  { name: 'FFmpeg', command: ffmpeg(), codec: 'H264', signal: 'SIGINT' },
  {
    name: 'FFmpeg as DTLS client',
    command: ffmpeg('-whip_flags dtls_active'),
    codec: 'H264',
    signal: 'SIGINT',
  },
];

describe('publishers of other makes', { timeout: 180_000 }, () => {
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

  for (const { name, command, codec, signal } of PUBLISHERS) {
    test(`${name} is seen and heard`, async context => {
      const room = name.toLowerCase().replaceAll(' ', '-');
      const publisher = start(command(`${server.url}/whip/${room}/camera`));
      context.after(() => publisher.kill('SIGKILL'));
      await until(`${name} is connected`, async () => {
        if (publisher.exitCode !== null) throw new Error(publisher.log.join(''));
        return (await gauge(/^plenum_sessions_connected$/)) === 1;
      });

      const viewer = await (await chromium.person()).open(`${pages.url}/lab.html`);
      context.after(() => viewer.close());
      await viewer.page.waitForFunction(() => globalThis.lab);
      const watched = await viewer.page.evaluate(url => lab.watch(url), `${server.url}/whep/${room}/camera`);
      assert.notEqual(watched.firstFrameMs, null, `no frame was decoded; ${publisher.log.join('')}`);
      context.diagnostic(`first frame after ${Math.round(watched.firstFrameMs)} ms`);

      const received = () => viewer.page.evaluate(id => lab.received(id), watched.session);
      await until('a hundred frames are decoded', async () => (await received()).video.framesDecoded > 100);
      await until('sound is heard', async () => (await received()).audio?.totalAudioEnergy > 1e-6);
      const { video, audio } = await received();
      assert.equal(video.packetsLost + audio.packetsLost, 0, 'packets were lost');
      assert.deepEqual(await viewer.page.evaluate(() => media.codecs('video')), [`video/${codec}`]);

      await viewer.page.evaluate(id => lab.stop(id), watched.session);
      const exited = once(publisher, 'exit');
      publisher.kill(signal);
      await exited;
      await until('the publisher has left', async () => (await gauge(/^plenum_sessions$/)) === 0);
    });
  }
});

/** Starts a publisher and keeps what it says, for when it fails. */
function start([program, ...args]) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  child.log = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', text => child.log.push(String(text)));
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  return child;
}
