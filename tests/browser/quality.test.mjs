// What the page says of connections: whose is bad, and the numbers of one's own.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gathering } from './lib/gathering.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

/** Far beyond what retransmissions hide. */
const LOST_PERCENT = 25;
/** The page looks every two seconds, and says only what holds for two looks. */
const SAID_MS = 30_000;

// One story in the order of these tests: each begins where the one before ended.
describe('what the page says of connections', { timeout: 150_000 }, () => {
  let gathering, server, ada, ben, cleo;

  before(async () => {
    gathering = await Gathering.of(['Ada', 'Ben', 'Cleo']);
    server = gathering.server;
    ({ Ada: ada, Ben: ben, Cleo: cleo } = gathering.people);
    for (const person of [ada, ben, cleo]) await person.context.addInitScript(smallCamera);
  });
  after(() => gathering?.end());

  /** Three encoders of three cameras would keep a small machine so busy that pictures halt by themselves. */
  function smallCamera() {
    const { mediaDevices } = navigator;
    if (!mediaDevices) return;
    const ask = mediaDevices.getUserMedia.bind(mediaDevices);
    mediaDevices.getUserMedia = ({ video, ...rest }) =>
      ask({ ...rest, ...(video && { video: { width: 320, height: 180, frameRate: 20 } }) });
  }

  const badge = (person, name, words) => ui.tile(person, name).getByRole('img', { name: words });

  /** The details that the page shows now, by their name. */
  const details = ({ page }) =>
    page.getByRole('region', { name: 'Connection details' }).evaluate(panel => {
      const rows = [...panel.querySelectorAll('dl > div')];
      const texts = row => [...row.querySelectorAll('dd')].map(dd => dd.textContent);
      return Object.fromEntries(rows.map(row => [row.querySelector('dt').textContent, texts(row)]));
    });

  /** What getStats says of the last two seconds: of one picture that is received, and of the path. */
  const measured = ({ page }) =>
    page.evaluate(async () => {
      const look = async () => ({
        video: (await globalThis.media.received('video'))[0],
        sent: (await globalThis.media.sent('video')).filter(({ framesSent }) => framesSent > 0),
        path: await globalThis.media.path(),
      });
      const before = await look();
      await new Promise(resolve => setTimeout(resolve, 2000));
      const { video, sent, path } = await look();
      const perSecond = (now, then, counter) =>
        (1000 * (now[counter] - then[counter])) / (now.timestamp - then.timestamp);
      return {
        width: video.frameWidth,
        height: video.frameHeight,
        fps: perSecond(video, before.video, 'framesDecoded'),
        bitrate: 8 * perSecond(video, before.video, 'bytesReceived'),
        jitterMs: video.jitter * 1000,
        roundTripMs: path.currentRoundTripTime * 1000,
        layers: sent.map(({ rid, frameWidth, frameHeight }) =>
          [rid, `${frameWidth}×${frameHeight}`].filter(Boolean).join(' '),
        ),
      };
    });

  const bitsPerSecond = text => {
    const [, number, unit] = /([\d.]+) ([kM])bit\/s/.exec(text);
    return Number(number) * { k: 1e3, M: 1e6 }[unit];
  };
  const milliseconds = text => Number(/(\d+) ms/.exec(text)[1]);
  const isAbout = (shown, real, factor) => shown <= real * factor && shown >= real / factor;

  test('the details are what the browser measures', async () => {
    await ui.join(ada, server, 'links', 'Ada');
    await ui.join(cleo, server, 'links', 'Cleo');
    await until('Ada sees Cleo', () => ui.isMoving(ui.tile(ada, 'Cleo')));
    await ada.page.locator('body').press('i');
    const numbers = ui.tile(ada, 'Cleo').locator('.tile-numbers');
    await numbers.waitFor();
    // The page's two seconds are not those that are measured here, and at first rates still climb.
    await until(
      'they agree',
      async () => {
        const real = await measured(ada);
        const shown = await numbers.textContent();
        const [size, fps, bitrate, lost, jitter, codec] = shown.split(' · ');
        assert.equal(size, `${real.width}×${real.height}`, shown);
        assert.ok(Math.abs(Number.parseInt(fps, 10) - real.fps) <= 5, `${shown}: ${real.fps} frames`);
        assert.ok(isAbout(bitsPerSecond(bitrate), real.bitrate, 1.5), `${shown}: ${real.bitrate} bit/s`);
        assert.equal(lost, '0.0 % lost');
        assert.ok(Math.abs(milliseconds(jitter) - real.jitterMs) <= 20, `${shown}: ${real.jitterMs} ms`);
        assert.equal(codec, 'VP8');
        const panel = await details(ada);
        const roundTrip = milliseconds(panel['Round trip'][0]);
        assert.ok(Math.abs(roundTrip - real.roundTripMs) <= 10, `${roundTrip}: ${real.roundTripMs} ms`);
        assert.ok(bitsPerSecond(panel.Received[0]) >= bitsPerSecond(bitrate), 'sound is received, too');
        for (const layer of panel['Own picture'])
          assert.ok(real.layers.includes(layer.split(' · ')[0]), `${layer} of ${real.layers}`);
        return panel['Own picture'].length > 0;
      },
      30_000,
    );
    const panel = ada.page.getByRole('region', { name: 'Connection details' });
    const { y, height } = await panel.boundingBox();
    const tops = await ada.page
      .getByRole('article')
      .evaluateAll(tiles => tiles.map(tile => tile.getBoundingClientRect().top));
    assert.ok(Math.min(...tops) >= y + height, 'the details lie on somebody');
    await ada.page.locator('body').press('i');
    await panel.waitFor({ state: 'hidden' });
  });

  test('somebody else’s bad connection is named as theirs, and on their page as their own', async () => {
    await ben.suffer(LOST_PERCENT);
    await ui.join(ben, server, 'links', 'Ben');
    await badge(ben, 'Ben (you)', /^Your connection/).waitFor({ timeout: SAID_MS });
    await badge(ada, 'Ben', /^Their connection/).waitFor({ timeout: SAID_MS });
    await badge(cleo, 'Ben', /^Their connection/).waitFor({ timeout: SAID_MS });
    for (const [person, name, other] of [
      [ada, 'Ada', 'Cleo'],
      [cleo, 'Cleo', 'Ada'],
    ]) {
      assert.equal(await badge(person, `${name} (you)`, /connection/).count(), 0, `${name} blames herself`);
      assert.equal(await badge(person, other, /connection/).count(), 0, `${name} blames ${other}`);
    }
  });

  test('and no more when it is well again', async () => {
    await ui.leave(ben);
    await ben.page.goto('about:blank');
    await ben.suffer(0);
    await ui.join(ben, server, 'links', 'Ben');
    await until('Ada sees Ben', () => ui.isMoving(ui.tile(ada, 'Ben')));
    await badge(ada, 'Ben', /connection/).waitFor({ state: 'detached' });
  });
});
