// The pages of broadcasts: one person goes live with a browser, others watch, here and on pages of others.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Chromium } from './lib/chromium.mjs';
import { Pages } from './lib/pages.mjs';
import { Server } from './lib/server.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

// One story in the order of these tests: each begins where the one before ended.
describe('the pages of a broadcast', { timeout: 120_000 }, () => {
  let chromium, pages, server, publisher, viewer, guest;

  before(async () => {
    chromium = await Chromium.start();
    pages = await Pages.start();
    server = await Server.start();
    [publisher, viewer, guest] = await Promise.all([chromium.person(), chromium.person(), chromium.person()]);
  });
  after(async () => {
    await Promise.all([chromium?.stop(), pages?.stop()]);
    const end = await server?.stop();
    for (const person of [publisher, viewer, guest]) {
      const uncaught = person?.log.filter(line => line.startsWith('uncaught')) ?? [];
      assert.deepEqual(uncaught, [], 'a page had errors');
    }
    assert.equal(end?.code, 0, server?.lastWords);
  });

  const isLive = frame => ui.isMoving(frame.getByRole('main'));

  test('who watches before anybody is live is told so, and sees the picture as soon as it comes', async () => {
    await viewer.open(`${server.url}/watch/stage/ada`);
    await viewer.page.getByText('ada is not live yet.').waitFor();

    await publisher.open(`${server.url}/publish/stage?as=ada`);
    await until('the camera runs', () => ui.isMoving(publisher.page.getByRole('main')));
    await ui.press(publisher, 'Go live');
    await publisher.page.getByText('You are live').waitFor();
    await until('the picture moves', () => isLive(viewer.page));
    await viewer.page.getByText('Live', { exact: true }).waitFor();
    const before = await viewer.received('audio');
    await until(
      'it is heard',
      async () => (await viewer.growing('audio', 'totalAudioEnergy', before, 1e-6)) === 1,
    );
  });

  test('the player can be put into a page of somebody else, and the room cannot', async () => {
    await guest.open(`${pages.url}/lab.html`);
    const embed = path =>
      guest.page.evaluate(src => {
        document.body.append(Object.assign(document.createElement('iframe'), { src, allow: 'autoplay' }));
      }, server.url + path);
    await embed('/watch/stage?muted&controls=0');
    const player = guest.page.frameLocator('iframe').first();
    await until('the picture moves in the frame', () => isLive(player));
    assert.equal(await player.getByRole('button').count(), 0, 'controls show');
    assert.equal(await player.locator('video').evaluate(video => video.muted), true);
    await embed('/publish/other');
    const studio = guest.page.frameLocator('iframe').nth(1);
    await studio.getByRole('button', { name: 'Go live' }).waitFor();
    await embed('/r/stage');
    await until('the browser refuses the room in a frame', () =>
      guest.log.some(line => /frame-ancestors/.test(line)),
    );
  });

  test('a player that is not to start by itself waits for a click', async () => {
    await viewer.open(`${server.url}/watch/stage?autoplay=0`);
    const play = viewer.page.getByRole('button', { name: 'Play' }).first();
    await play.waitFor();
    assert.equal(await viewer.page.evaluate(() => media.connections()), 0);
    await play.click();
    await until('the picture moves', () => isLive(viewer.page));
    await viewer.page.mouse.move(200, 200);
    await ui.press(viewer, 'Stop');
    await until('nothing is received', async () => (await viewer.received('video')).length === 0);
  });

  test('where the browser wants a click before sound, the picture plays without', async () => {
    // What a browser does to a page that nobody has touched yet.
    await guest.context.addInitScript(() => {
      const { play } = HTMLMediaElement.prototype;
      HTMLMediaElement.prototype.play = function () {
        const isAllowed = this.muted || navigator.userActivation.hasBeenActive;
        return isAllowed ? play.call(this) : Promise.reject(new DOMException('', 'NotAllowedError'));
      };
    });
    await guest.open(`${server.url}/watch/stage`);
    await until('the picture moves', () => isLive(guest.page));
    await guest.page.getByRole('button', { name: 'Turn sound on' }).first().click();
    await until('it is loud', () => guest.page.locator('video').evaluate(video => !video.muted));
  });

  test('the page says what to enter into other programs', async () => {
    const shown = label => publisher.page.getByRole('region', { name: label }).textContent();
    assert.equal(await shown('Server'), `${server.url}/whip/stage/ada`);
    assert.match(await shown('FFmpeg 8 or newer'), new RegExp(`-f whip '${server.url}/whip/stage/ada'$`));
    assert.match(await shown('GStreamer'), /whipclientsink/);
    assert.equal(await shown('Link'), `${server.url}/watch/stage/ada`);
    assert.match(await shown('To embed in a page'), /^<iframe src="[^"]+\/watch\/stage\/ada\?muted"/);
    const withToken = await viewer.open(`${server.url}/publish/stage?as=bob#token=of.mine`);
    const snippet = label => withToken.page.getByRole('region', { name: label });
    for (const label of ['Bearer token', 'FFmpeg 8 or newer', 'GStreamer'])
      await snippet(label).getByText('of.mine').waitFor();
    assert.doesNotMatch(await snippet('Link').textContent(), /of\.mine/, 'the link gives the token away');
  });

  test('who is live under a name keeps it, and who stops is gone', async () => {
    await viewer.open(`${server.url}/publish/stage?as=ada`);
    await until('the camera runs', () => ui.isMoving(viewer.page.getByRole('main')));
    await ui.press(viewer, 'Go live');
    await viewer.page.getByText('Somebody is live under this name already.').waitFor();
    await ui.press(publisher, 'Stop');
    await guest.page.getByText('Nobody is live here yet.').waitFor();
  });

  test('a script that somebody brought into a page does not run', async () => {
    for (const path of ['/', '/r/tea', '/watch/tea', '/publish/tea', '/direct/tea']) {
      const policy = (await fetch(server.url + path)).headers.get('Content-Security-Policy');
      assert.ok(policy && !/unsafe-(inline|eval)/.test(policy), `${path}: ${policy}`);
      await guest.open(server.url + path);
      const ran = await guest.page.evaluate(() => {
        document.body.append(
          Object.assign(document.createElement('script'), { textContent: 'globalThis.ran = 1' }),
        );
        return 'ran' in globalThis;
      });
      assert.equal(ran, false, path);
    }
  });
});
