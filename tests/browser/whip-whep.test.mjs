// Stories of broadcasting: one Chromium publishes by WHIP, others watch by WHEP. The pages know
// the standards alone, and come from another origin.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Chromium } from './lib/chromium.mjs';
import { events } from './lib/events.mjs';
import { Pages } from './lib/pages.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

/** From the POST to the first decoded frame; a person takes less for "at once". */
const FIRST_FRAME_MS = 1000;
/** What a busy machine may do to a picture; a lost keyframe or a wrong switch takes longer. */
const LONGEST_FREEZE_S = 0.5;
/** How long a publisher has been live before the late viewers come: longer than any start-up effect. */
const LIVE_FOR_MS = process.env.PLENUM_LONG ? 60_000 : 5_000;
const LATE_VIEWERS = 20;

describe('broadcasting by WHIP and WHEP', { timeout: 300_000 }, () => {
  let chromium, pages, server;
  let people;

  before(async () => {
    chromium = await Chromium.start();
    pages = await Pages.start();
  });
  after(() => Promise.all([chromium?.stop(), pages?.stop()]));
  beforeEach(async () => {
    people = [];
    // The later half of an audience is on another thread than its publisher.
    server = await Server.start(['--shards=2', '--viewers-per-shard=10']);
  });
  afterEach(async () => {
    await Promise.all(people.map(person => person.close()));
    const end = await server.stop();
    assert.equal(end?.code, 0, server?.lastWords);
    assert.ok(!/panicked/.test(server?.log), server?.lastWords);
  });

  const someone = async () => {
    const person = await (await chromium.person()).open(`${pages.url}/lab.html`);
    people.push(person);
    await person.page.waitForFunction(() => globalThis.lab);
    return person;
  };
  const publisher = async (path, options) => {
    const person = await someone();
    await person.page.evaluate(([url, options]) => lab.publish(url, options), [server.url + path, options]);
    return person;
  };
  const viewer = async path => {
    const person = await someone();
    return watching(person, path);
  };
  const watching = async (person, path) => {
    const { session, firstFrameMs } = await person.page.evaluate(url => lab.watch(url), server.url + path);
    return { person, session, firstFrameMs };
  };
  const receivedBy = ({ person, session }) => person.page.evaluate(id => lab.received(id), session);
  const allLayersAreSent = async person => {
    const sent = (await person.sent('video')).filter(({ framesSent }) => framesSent > 10);
    return (
      sent.length === 3 &&
      sent
        .map(({ rid }) => rid)
        .sort()
        .join('') === 'fhq'
    );
  };

  test('all three layers of a camera are sent, and go on being sent', async () => {
    const ada = await publisher('/whip/layers/ada');
    await until('frames of q, h and f are sent', () => allLayersAreSent(ada), 20_000);
    const before = await ada.sent('video');
    await until('each layer sends on', async () => {
      const now = await ada.sent('video');
      return now.every(
        ({ id, framesSent }) => framesSent > before.find(stat => stat.id === id).framesSent + 20,
      );
    });
  });

  for (const [whom, path] of [
    ['the room', '/whep/stage'],
    ['one participant', '/whep/stage/ada'],
  ]) {
    test(`who watches ${whom} sees the first frame within a second, and every packet arrives`, async context => {
      const ada = await publisher('/whip/stage/ada');
      await until('frames of q, h and f are sent', () => allLayersAreSent(ada), 20_000);

      const bob = await viewer(path);
      context.diagnostic(`first frame after ${bob.firstFrameMs?.toFixed(0)} ms`);
      assert.ok(
        bob.firstFrameMs !== null && bob.firstFrameMs < FIRST_FRAME_MS,
        `waited ${bob.firstFrameMs} ms`,
      );

      const first = await receivedBy(bob);
      await until('a hundred more frames are decoded', async () => {
        const { video } = await receivedBy(bob);
        return video.framesDecoded > first.video.framesDecoded + 100;
      });
      await until('sound is heard', async () => (await receivedBy(bob)).audio?.totalAudioEnergy > 0);
      const { video, audio } = await receivedBy(bob);
      assert.equal(video.packetsLost, 0, 'video packets lost');
      assert.equal(audio.packetsLost, 0, 'audio packets lost');
      context.diagnostic(`froze for ${video.totalFreezesDuration} s`);
      assert.ok(video.totalFreezesDuration < LONGEST_FREEZE_S, `froze for ${video.totalFreezesDuration} s`);
    });
  }

  test(`each of ${LATE_VIEWERS} who come when the publisher has been live for a while sees a picture within a second`, async context => {
    await publisher('/whip/late/ada');
    await sleep(LIVE_FOR_MS);
    const bob = await someone();
    const waits = [];
    for (let n = 0; n < LATE_VIEWERS; n += 1) {
      const viewing = await watching(bob, n % 2 ? '/whep/late' : '/whep/late/ada');
      waits.push(viewing.firstFrameMs);
      assert.equal(await bob.page.evaluate(id => lab.stop(id), viewing.session), 200);
    }
    const slow = waits.filter(wait => wait === null || wait >= FIRST_FRAME_MS);
    const seen = `waits in ms: ${waits.map(wait => wait && Math.round(wait))}`;
    context.diagnostic(seen);
    assert.deepEqual(slow, [], seen);
  });

  test('who comes before the publisher sees the picture when there is one', async () => {
    const bob = await someone();
    const waiting = watching(bob, '/whep/early/ada');
    await until(
      'the viewer is connected',
      async () => (await server.metrics()).sum(/^plenum_sessions_connected$/) > 0,
    );
    await publisher('/whip/early/ada');
    assert.notEqual((await waiting).firstFrameMs, null);
  });

  test('a player that only answers sees the picture of what it is offered', async () => {
    await publisher('/whip/answered/ada');
    const bob = await someone();
    const door = `${server.url}/whep/answered/ada?mode=offer`;
    const answered = await bob.page.evaluate(url => lab.answer(url), door);
    await until('the picture moves', async () => {
      const { video, audio } = await bob.page.evaluate(id => lab.received(id), answered);
      return video?.framesDecoded > 20 && audio?.totalAudioEnergy > 1e-6;
    });
    assert.equal(await bob.page.evaluate(id => lab.stop(id), answered), 200);
  });

  test('a player is told of each layer (E16), and gets the one that it chooses (E19)', async () => {
    const ada = await publisher('/whip/chosen/ada');
    const bob = await viewer('/whep/chosen');
    const [video, location] = await bob.person.page.evaluate(
      session => [lab.videoLine(session), lab.locationOf(session)],
      bob.session,
    );
    const post = (path, body) =>
      fetch(location + path, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });
    const subscribed = await post('/sse', ['layers']);
    assert.equal(subscribed.status, 201);
    const stop = new AbortController();
    let layers = [];
    const reading = (async () => {
      const stream = new URL(subscribed.headers.get('Location'), location);
      for await (const { data } of events(stream, stop.signal)) layers = data[video.index] ?? [];
    })().catch(() => {});
    const seen = async () => (await receivedBy(bob)).video;
    try {
      // Of each encoding, Chromium's three temporal layers as well.
      const flowing = () => layers.filter(({ bitrate }) => bitrate > 0);
      const sizes = () => [...new Set(flowing().map(({ rid, width }) => `${rid} ${width}`))].sort();
      await until('three encodings are told of', () => sizes().length === 3);
      assert.deepEqual(sizes(), ['f 1280', 'h 640', 'q 320']);
      await until('the whole picture is there', async () => (await seen()).frameWidth === 1280);
      assert.equal((await post('/layer', { mediaId: video.mid, rid: 'q' })).status, 200);
      await until('the small picture is there', async () => (await seen()).frameWidth === 320, 2_000);
      assert.equal((await post('/layer', { mediaId: video.mid })).status, 200);
      await until('the whole picture is back', async () => (await seen()).frameWidth === 1280);
      await ada.page.evaluate(() => lab.stopEncoding(0, 'f'));
      await until('an encoding that is not sent is at nothing', () => {
        const off = layers.filter(({ rid }) => rid === 'f');
        return off.length > 0 && off.every(({ bitrate }) => bitrate === 0);
      });
    } finally {
      stop.abort();
      await reading;
    }
  });

  for (const codec of ['VP8', 'VP9', 'H264', 'AV1']) {
    test(`${codec} is passed on`, async () => {
      await publisher(`/whip/codec-${codec}/ada`, { codec, simulcast: false });
      const bob = await viewer(`/whep/codec-${codec}`);
      assert.notEqual(bob.firstFrameMs, null, 'no frame was decoded');
      const codecs = await bob.person.page.evaluate(() => media.codecs('video'));
      assert.deepEqual(codecs, [`video/${codec}`]);
    });
  }

  for (const [width, height] of [
    [1280, 720],
    [640, 480],
    [320, 180],
  ]) {
    test(`a camera of ${width}×${height} is seen at that size`, async () => {
      const ada = await (await chromium.person()).open(`${pages.url}/modules.html`);
      people.push(ada);
      await ada.page.waitForFunction(() => globalThis.modules);
      await ada.page.evaluate(
        ([url, size]) => modules.publish(url, size),
        [`${server.url}/whip/size/ada`, { width, height }],
      );
      const bob = await viewer('/whep/size/ada');
      await until('the picture is as large as the camera', async () => {
        const { video } = await receivedBy(bob);
        return video.frameWidth === width && video.frameHeight === height;
      });
    });
  }

  test("the web client's publisher and player work from another origin", async () => {
    const [ada, bob] = await Promise.all([chromium.person(), chromium.person()]);
    people.push(ada, bob);
    for (const person of people) {
      await person.open(`${pages.url}/modules.html`);
      await person.page.waitForFunction(() => globalThis.modules);
    }
    await ada.page.evaluate(url => modules.publish(url), `${server.url}/whip/modules/ada`);
    await bob.page.evaluate(url => modules.play(url), `${server.url}/whep/modules/ada`);

    await until('the picture moves', async () => (await bob.growing('video', 'framesDecoded', [], 50)) === 1);
    await until(
      'sound is heard',
      async () => (await bob.growing('audio', 'totalAudioEnergy', [], 1e-6)) === 1,
    );
    await bob.page.evaluate(() => modules.player.stop());
    await ada.page.evaluate(() => modules.publisher.stop());
    const sessions = async () => (await server.metrics()).sum(/^plenum_sessions$/);
    await until('both sessions are over', async () => (await sessions()) === 0);
  });
});
