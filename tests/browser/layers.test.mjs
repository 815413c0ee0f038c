// Which encodings Chromium sends: all of them on a good link, and in a room those that somebody watches.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Gathering } from './lib/gathering.mjs';
import { Pages } from './lib/pages.mjs';
import { until } from './lib/until.mjs';

/** After the last wish for a layer its publisher is told within six seconds; one more for the encoder. */
const LAPSE_MS = 12_000;
/** How long a large picture may take that nobody had looked at before: an event, an encoder, a keyframe. */
const BACK_MS = 2_000;

describe('layers', { timeout: 180_000 }, () => {
  let gathering, pages, people, server;

  before(async () => {
    gathering = await Gathering.of(['Ada', 'Ben', 'Cleo']);
    ({ people, server } = gathering);
    pages = await Pages.start();
  });
  after(async () => {
    await pages?.stop();
    await gathering?.end();
  });

  /** Frames sent so far, by encoding. */
  async function frames(person) {
    const sent = await person.sent('video');
    return Object.fromEntries(sent.map(({ rid, framesSent }) => [rid, framesSent]));
  }

  /** Frames and bytes that each encoding sends in a second. */
  async function rates(person, seconds = 2) {
    const before = await person.sent('video');
    await sleep(1000 * seconds);
    const rate = ({ rid, framesSent, bytesSent }) => {
      const was = before.find(stream => stream.rid === rid);
      const each = (now, then) => Math.round((now - then) / seconds);
      return [rid, { fps: each(framesSent, was.framesSent), bytes: each(bytesSent, was.bytesSent) }];
    };
    return Object.fromEntries((await person.sent('video')).map(rate));
  }

  const total = rates => Object.values(rates).reduce((sum, { bytes }) => sum + bytes, 0);

  test('on a good link all three encodings of a broadcast are sent all the time', async () => {
    const { page } = await people.Cleo.open(`${pages.url}/lab.html`);
    await page.waitForFunction(() => globalThis.lab);
    await page.evaluate(url => lab.publish(url), `${server.url}/whip/layers`);
    await until(
      'all three are sent',
      async () => Object.values(await frames(people.Cleo)).filter(sent => sent > 0).length === 3,
      15_000,
    );
    for (let look = 0; look < 5; look += 1) {
      const now = await rates(people.Cleo);
      assert.deepEqual(Object.keys(now).sort(), ['f', 'h', 'q']);
      // One that rests sends none; a quarter of the camera's is what three busy encoders may come down to.
      for (const [rid, { fps }] of Object.entries(now)) assert.ok(fps >= 5, `${rid}: ${fps} fps`);
    }
    await people.Cleo.page.goto('about:blank');
  });

  /** Cleo publishes one encoding with these layers, or three of them, and Ben comes to watch. */
  async function meet(codec, scalabilityMode, { simulcast = false, grey, height = 720 } = {}) {
    const { page } = await people.Cleo.open(`${pages.url}/lab.html`);
    await page.waitForFunction(() => globalThis.lab);
    await page.evaluate(
      ([url, options]) => lab.publish(url, options),
      [`${server.url}/whip/workshop/cleo?name=Cleo`, { simulcast, codec, scalabilityMode, grey }],
    );
    const viewer = people.Ben.page;
    await people.Ben.open(`${pages.url}/modules.html`);
    await viewer.waitForFunction(() => globalThis.modules);
    await viewer.evaluate(url => modules.join(url, 'Ben', { watchOnly: true }), server.url);
    const want = (height, fps) =>
      viewer.evaluate(wish => modules.want(['Cleo'], ...wish), [(height * 16) / 9, height, fps]);
    await until('Ben knows of Cleo', () => want(height));
    const seen = async () => (await people.Ben.received('video'))[0] ?? {};
    await until('Ben sees all of Cleo', async () => (await seen()).frameHeight === height, 20_000);
    return { want, seen };
  }

  async function part() {
    await people.Cleo.page.goto('about:blank');
    await people.Ben.page.goto('about:blank');
    await until('both are gone', async () => (await server.metrics()).sum(/^plenum_sessions$/) === 0, 30_000);
  }

  for (const [codec, scalabilityMode, { simulcast = false, isLong = false } = {}] of [
    ['VP9', 'L3T3'],
    ['VP9', 'L3T3_KEY'],
    ['AV1', 'L3T3'],
    ['AV1', 'L3T3_KEY', { isLong: true }],
    // Three encodings, whose descriptors a slot makes one stream of.
    ['AV1', 'L1T3', { simulcast: true }],
  ]) {
    const options = { skip: isLong && !process.env.PLENUM_LONG };
    const encodings = simulcast ? 'three encodings of ' : '';
    test(
      `each size of ${encodings}${codec} with ${scalabilityMode} is shown without a break`,
      options,
      async () => {
        const { want, seen } = await meet(codec, scalabilityMode, { simulcast });
        const { freezeCount } = await seen();
        for (const height of [180, 360, 720, 360, 180, 720]) {
          await want(height);
          // What a large picture takes is known once it flows, and then the path has to be tried for it.
          await until(
            `Ben sees ${height} lines, and goes on to`,
            async () => {
              const before = await seen();
              if (before.frameHeight !== height) return false;
              await sleep(1_500);
              const now = await seen();
              return now.frameHeight === height && now.framesDecoded >= before.framesDecoded + 15;
            },
            12_000,
          );
        }
        assert.equal((await seen()).freezeCount, freezeCount, 'nothing froze');
        const unread = (await server.metrics()).sum(/^plenum_unread_descriptors_total/);
        assert.equal(unread, 0, 'descriptors that could not be read');
        await part();
      },
    );
  }

  test('frames of AV1 that are not wanted are left out, and are back without a keyframe', async () => {
    // A picture so small that its encoder never changes its size, which takes a keyframe.
    const { want, seen } = await meet('AV1', 'L1T3', { grey: 99, height: 180 });
    /** Of the frames that Cleo sends, the share that Ben sees. */
    async function share() {
      const look = async () => [
        (await seen()).framesDecoded,
        (await people.Cleo.sent('video'))[0].framesSent,
      ];
      const [seenBefore, sentBefore] = await look();
      await sleep(1_500);
      const [seenNow, sentNow] = await look();
      return (seenNow - seenBefore) / Math.max(1, sentNow - sentBefore);
    }
    await until('Ben sees all frames', async () => (await share()) > 0.9, 12_000);
    const { keyFramesDecoded, freezeCount, pliCount } = await seen();
    for (const fps of [1, undefined]) {
      await want(180, fps);
      await until(
        `Ben sees ${fps ? 'a quarter of the' : 'all'} frames`,
        async () => {
          const now = await share();
          return fps ? now > 0.15 && now < 0.35 : now > 0.9;
        },
        12_000,
      );
    }
    const after = await seen();
    assert.deepEqual([after.keyFramesDecoded, after.pliCount], [keyFramesDecoded, pliCount]);
    assert.equal(after.freezeCount, freezeCount, 'nothing froze');
    await part();
  });

  test('what nobody watches is not encoded, and is back when somebody looks', async () => {
    for (const name of ['Ada', 'Ben']) {
      const { page } = await people[name].open(`${pages.url}/modules.html`);
      await page.waitForFunction(() => globalThis.modules);
      const watchOnly = name === 'Ben';
      await page.evaluate(
        ([url, name, options]) => modules.join(url, name, options),
        [server.url, name, { watchOnly }],
      );
    }
    const want = (width, height) =>
      people.Ben.page.evaluate(([width, height]) => modules.want(['Ada'], width, height), [width, height]);
    await until('Ben knows of Ada', () => want(1280, 720));
    const seen = async () => (await people.Ben.received('video'))[0] ?? {};
    await until('Ben sees all of Ada', async () => (await seen()).frameHeight === 720, 15_000);
    const before = await rates(people.Ada);

    await want(160, 90);
    await until('Ben sees a small Ada', async () => (await seen()).frameHeight === 180, 5_000);
    await until(
      'the large ones rest',
      async () => {
        const now = await rates(people.Ada, 1);
        return now.q.fps > 0 && now.h.fps === 0 && now.f.fps === 0;
      },
      LAPSE_MS,
    );
    const after = await rates(people.Ada);
    assert.ok(total(after) * 3 < total(before), `${total(before)} and then ${total(after)} bytes a second`);

    await want(1280, 720);
    const looked = performance.now();
    await until('the large picture is back', async () => (await seen()).frameHeight === 720, BACK_MS);
    const took = Math.round(performance.now() - looked);
    const { freezeCount } = await seen();
    console.log(`bytes a second: ${total(before)}, then ${total(after)}; back after ${took} ms`);
    await sleep(2_000);
    assert.equal((await seen()).freezeCount, freezeCount, 'nothing froze');
  });
});
