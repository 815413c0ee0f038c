// What stands on the stage: pages of tiles, whoever is pinned, and a screen. What is not on it is not
// asked for.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Crowd, NAMES } from './lib/crowd.mjs';
import { Gathering } from './lib/gathering.mjs';
import { Pages } from './lib/pages.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

/** As low as a telephone on its side: two rows of four fit beside the controls. */
const WINDOW = { width: 700, height: 380 };
const CROWD = 10;

// One story in the order of these tests: each begins where the one before ended.
describe('the stage', { timeout: 120_000 }, () => {
  let gathering, server, pages, crowd, ada, ben;
  /** What Ada asked for last. */
  let wishes = [];

  before(async () => {
    gathering = await Gathering.of(['Ada', 'Ben']);
    server = gathering.server;
    ({ Ada: ada, Ben: ben } = gathering.people);
    pages = await Pages.start();
    crowd = await Crowd.start(gathering.chromium, pages);
    await crowd.join(server, 'stage', NAMES.slice(1, 1 + CROWD), { width: 160, height: 90, fps: 5 });
    await ada.page.setViewportSize(WINDOW);
    ada.page.on('request', request => {
      if (request.method() !== 'PUT' || !request.url().endsWith('/subscriptions')) return;
      wishes = Object.values(request.postDataJSON().slots).filter(wish => wish?.track);
    });
    await ui.join(ada, server, 'stage', 'Ada');
  });
  after(async () => {
    await pages?.stop();
    await gathering?.end();
  });

  const tiles = () => ada.page.getByRole('group', { name: 'Participants' }).getByRole('article');
  const namesShown = () => tiles().locator('.tile-name').allTextContents();

  // People come and go: all tiles are looked at in one go, as one may leave between two questions.

  /** The names whose pictures move now. */
  const movingNames = () =>
    tiles().evaluateAll(async all => {
      const frames = tile => tile.querySelector('video').getVideoPlaybackQuality().totalVideoFrames;
      const before = all.map(frames);
      // Two pictures at the crowd's rate.
      await new Promise(resolve => setTimeout(resolve, 400));
      return all
        .filter((tile, index) => frames(tile) > before[index])
        .map(tile => tile.querySelector('.tile-name').textContent);
    });

  /** The name of the tile that is much larger than each of the others, if one is. */
  const largeOne = () =>
    tiles().evaluateAll(all => {
      const sizes = all.map(tile => {
        const { width, height } = tile.getBoundingClientRect();
        return { name: tile.querySelector('.tile-name').textContent, area: width * height };
      });
      const [largest, next] = sizes.sort((one, other) => other.area - one.area);
      return largest.area > 3 * next.area ? largest.name : null;
    });

  test('shows a page of people, and receives those and no others', async () => {
    const pager = ada.page.getByRole('button', { name: 'Next page' });
    await pager.waitFor();
    await until('everyone on the page moves', async () => {
      return (await movingNames()).length === (await tiles().count());
    });
    const shown = await namesShown();
    assert.ok(shown.length < CROWD, `${shown.length} tiles`);
    // Oneself is a tile, and no picture that is received.
    await until('as many are received as are shown', async () => {
      const before = await ada.received('video');
      await ada.page.waitForTimeout(2000);
      return (await ada.growing('video', 'framesDecoded', before, 3)) === shown.length - 1;
    });
    assert.equal(wishes.length, shown.length - 1, JSON.stringify(wishes));
  });

  test('asks for pictures of the size at which they are shown', async () => {
    await until('each is wished for like that', async () => {
      const { width } = await tiles().first().boundingBox();
      return wishes.every(wish => wish.width >= width && wish.width < width + 80);
    });
  });

  test('another page shows the others', async () => {
    const first = await namesShown();
    await ada.page.keyboard.press('ArrowRight');
    await ada.page.getByRole('status').getByText('Page 2 of').waitFor({ state: 'attached' });
    // Its tiles are drawn with the next frame.
    const second = await until('others are shown', async () => {
      const shown = await namesShown();
      return shown.length > 0 && !shown.some(name => first.includes(name)) && shown;
    });
    await until('they move', async () => (await movingNames()).length === second.length);
    await ada.page.keyboard.press('ArrowLeft');
    await until('the first are back', async () => (await namesShown()).join() === first.join());
  });

  test('who speaks on another page gets a ring and comes to the first', async () => {
    const first = await namesShown();
    const hasMicrophone = (_, who) => who % 3 !== 2;
    const speaker = NAMES.slice(1, 1 + CROWD)
      .filter(hasMicrophone)
      .find(name => !first.includes(name));
    await crowd.speak(speaker);
    const shown = ui.tile(ada, speaker);
    await until('the speaker is on the first page', async () => (await shown.count()) === 1);
    const shadow = tile => tile.evaluate(it => getComputedStyle(it).boxShadow);
    await until('there is a ring', async () => (await shadow(shown)).includes(' 3px'));
    assert.match(await shown.textContent(), /, speaking/);
    await until('the picture moves', () => ui.isMoving(shown));
    assert.equal(await tiles().count(), first.length);
    const now = await namesShown();
    assert.equal(first.filter(name => !now.includes(name)).length, 1, `${first}, and then ${now}`);
    assert.equal(await ada.page.locator('.is-speaking').count(), 1);
  });

  test('in the speaker view whoever speaks is large', async () => {
    const speaker = await ada.page.locator('.is-speaking .tile-name').textContent();
    await ada.page.locator('body').press('l');
    await until('the speaker is large', async () => (await largeOne()) === speaker);
    await ada.page.locator('body').press('l');
    await until('all are of one size again', async () => (await largeOne()) === null);
  });

  test('whoever is pinned is large, and is asked for at that size', async () => {
    const other = (await namesShown()).find(name => !name.includes('you'));
    await ui.tile(ada, other).hover();
    await ui.press(ada, `Pin ${other}`);
    await until('the one who is pinned is large', async () => (await largeOne()) === other);
    await until('the picture is asked for', () => Math.max(...wishes.map(({ width }) => width)) > 400);
    await ui.tile(ada, other).hover();
    await ui.press(ada, `Unpin ${other}`);
    await until('all are of one size again', async () => (await largeOne()) === null);
  });

  test('a shared screen is large and whole, and the view is as before when it ends', async () => {
    await ui.join(ben, server, 'stage', 'Ben');
    await ui.shareScreen(ben);
    const screen = 'Ben’s screen';
    await until('it is large', async () => (await largeOne()) === screen);
    await until('it is shown', () => ui.isMoving(ui.screenOf(ada, 'Ben')));
    const video = ui.screenOf(ada, 'Ben').locator('video');
    assert.equal(await video.evaluate(it => getComputedStyle(it).objectFit), 'contain');
    await ui.stopSharing(ben);
    await until('it is gone', async () => (await ui.screenOf(ada, 'Ben').count()) === 0);
    await until('all are of one size again', async () => (await largeOne()) === null);
  });
});
