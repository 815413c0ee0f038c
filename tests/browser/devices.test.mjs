// Cameras and microphones as people have them: several, changed in the middle of a sentence, pulled out,
// or refused by the machine.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gathering } from './lib/gathering.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

/** Chromium's made-up camera of depth. */
const DEPTH_CAMERA = 'fake_device_1';

// One story in the order of these tests: each begins where the one before ended.
describe('devices that come, change and fail', { timeout: 120_000 }, () => {
  let gathering, server, ada, ben;
  /** What Ada chose last, by kind. */
  const chosenLast = {};

  before(async () => {
    gathering = await Gathering.of(['Ada', 'Ben']);
    server = gathering.server;
    ({ Ada: ada, Ben: ben } = gathering.people);
    await ada.context.addInitScript(rememberTracks);
  });
  after(() => gathering?.end());

  /** Runs in the page: remembers tracks, and fails as `sessionStorage` says, by kind. */
  function rememberTracks() {
    const { mediaDevices } = navigator;
    const real = mediaDevices.getUserMedia.bind(mediaDevices);
    globalThis.captured = [];
    mediaDevices.getUserMedia = async wanted => {
      const failing = sessionStorage.getItem(wanted.video ? 'video' : 'audio');
      if (failing) throw new DOMException('as the test wants it', failing);
      const stream = await real(wanted);
      globalThis.captured.push(...stream.getTracks());
      return stream;
    };
  }

  const inUse = kind =>
    ada.page.evaluate(
      kind => captured.findLast(track => track.kind === kind && track.readyState === 'live')?.label,
      kind,
    );

  const picker = name => ada.page.getByRole('combobox', { name, exact: true });

  /** Chooses the first device that is not in use, and tells its name. */
  async function chooseAnother(name) {
    const another = await until('there is another', async () => {
      const options = await picker(name)
        .locator('option')
        .evaluateAll(all => all.map(({ label, selected, value }) => ({ label, selected, value })));
      return options.find(
        ({ label, selected, value }) => !selected && value !== 'default' && label !== DEPTH_CAMERA,
      );
    });
    await picker(name).selectOption(another.value);
    return another.label;
  }

  for (const [kind, error, sentence] of [
    ['video', 'NotFoundError', 'No camera was found. You can join without.'],
    ['video', 'NotReadableError', 'Another program is using the camera.'],
    ['audio', 'NotFoundError', 'No microphone was found.'],
    ['audio', 'NotAllowedError', 'does not let this page use the microphone'],
  ]) {
    test(`${error} of ${kind} is said in plain words, and trying again helps`, async () => {
      await ada.open(`${server.url}/r/gear`);
      await ada.page.evaluate(([kind, error]) => sessionStorage.setItem(kind, error), [kind, error]);
      await ada.page.reload();
      await ada.page.getByRole('alert').getByText(sentence, { exact: false }).waitFor();
      await ada.page.evaluate(() => sessionStorage.clear());
      await ui.press(ada, 'Try again');
      await ada.page.getByRole('alert').waitFor({ state: 'hidden' });
      await until('it runs', () => inUse(kind));
    });
  }

  test('a camera that one chose once and that is gone is replaced by another', async () => {
    const runs = await ada.page.evaluate(async () => {
      const { LocalMedia } = await import('/media.js');
      const media = new LocalMedia();
      await media.start('video', 'gone');
      const { tracks, problems } = media;
      const runs = tracks.video?.readyState === 'live' && problems.video === null;
      media.close();
      return runs;
    });
    assert.ok(runs);
  });

  test('the lobby shows the camera that is chosen, and how loud the microphone is', async () => {
    const chosen = await chooseAnother('Camera');
    await until('the preview shows it', () =>
      ada.page
        .locator('.preview video')
        .evaluate(
          (video, label) => video.videoWidth > 0 && video.srcObject?.getVideoTracks()[0].label === label,
          chosen,
        ),
    );
    const meter = ada.page.getByRole('meter', { name: 'Microphone level' });
    await until('it beeps', async () => Number(await meter.getAttribute('aria-valuenow')) > 10);
    await ui.mute(ada);
    await until('it is quiet', async () => (await meter.getAttribute('aria-valuenow')) === '0');
    await ui.unmute(ada);
    const microphone = await chooseAnother('Microphone');
    await until('it is in use', async () => (await inUse('audio')) === microphone);
    await ada.page.getByLabel('Your name').fill('Ada');
    await ada.page.getByRole('button', { name: 'Mute', exact: true }).waitFor();
    await ui.press(ada, 'Join');
    await ui.join(ben, server, 'gear', 'Ben');
    await until('Ben sees Ada', () => ui.isMoving(ui.tile(ben, 'Ada')));
    assert.deepEqual([await inUse('video'), await inUse('audio')], [chosen, microphone]);
  });

  /** What Ben receives of Ada goes on, over the same connection. */
  async function goesOn(kind, measure, by) {
    const before = await ben.received(kind);
    await until(`${kind} goes on`, async () => (await ben.growing(kind, measure, before, by)) === 1);
  }

  test('in a call another camera and another microphone take over', async () => {
    const connections = await ada.page.evaluate(() => media.connections());
    for (const [menu, name, kind, measure, by] of [
      ['Choose camera', 'Camera', 'video', 'framesDecoded', 5],
      ['Microphone and loudspeaker', 'Microphone', 'audio', 'totalAudioEnergy', 1e-6],
    ]) {
      await ada.page.getByRole('button', { name: menu, exact: true }).click();
      const chosen = await chooseAnother(name);
      await ada.page.keyboard.press('Escape');
      await until(`${chosen} is in use`, async () => (await inUse(kind)) === chosen);
      chosenLast[kind] = chosen;
      await goesOn(kind, measure, by);
    }
    assert.equal(await ada.page.evaluate(() => media.connections()), connections, 'it connected anew');
    await until('Ben sees Ada', () => ui.isMoving(ui.tile(ben, 'Ada')));
  });

  test('one’s own picture is a mirror, unless one does not want that', async () => {
    const scale = () =>
      ui
        .tile(ada, 'Ada (you)')
        .locator('video')
        .evaluate(it => getComputedStyle(it).scale);
    assert.equal(await scale(), '-1 1');
    await ada.page.getByRole('button', { name: 'Choose camera', exact: true }).click();
    await ada.page.getByText('Mirror my picture').click();
    await until('it is none', async () => (await scale()) === 'none');
    await ada.page.keyboard.press('Escape');
    // The others see one as one is.
    assert.equal(
      await ui
        .tile(ben, 'Ada')
        .locator('video')
        .evaluate(it => getComputedStyle(it).scale),
      'none',
    );
  });

  test('when a microphone is pulled out another one steps in', async () => {
    await ada.page.evaluate(() => {
      const microphone = captured.findLast(
        ({ kind, readyState }) => kind === 'audio' && readyState === 'live',
      );
      microphone.stop();
      microphone.dispatchEvent(new Event('ended'));
    });
    await ada.page.getByText('Microphone was unplugged.').waitFor();
    await until('another is in use', () => inUse('audio'));
    await goesOn('audio', 'totalAudioEnergy', 1e-6);
    assert.ok(await ui.hasButton(ada, 'Mute'), 'Ada is muted');
  });

  test('the space bar leaves an open microphone open', async () => {
    await ada.page.locator('.stage').click({ position: { x: 5, y: 5 } });
    await ada.page.keyboard.down(' ');
    await ada.page.keyboard.up(' ');
    await goesOn('audio', 'totalAudioEnergy', 1e-6);
    assert.ok(await ui.hasButton(ada, 'Mute'), 'Ada is muted');
  });

  test('with a token the page says that a link does not let others in', async () => {
    const { page, context } = ada;
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.evaluate(() => {
      location.hash = 'token=of-mine';
    });
    await page.getByRole('button', { name: 'Copy invite link' }).first().click();
    await page.getByText('Whoever opens it needs a token of their own.').waitFor();
    const copied = () => page.evaluate(() => navigator.clipboard.readText());
    await until('it is the plain link', async () => (await copied()) === `${server.url}/r/gear`);
  });

  test('devices that were chosen once are chosen the next time, and off what was off', async () => {
    const { page } = ada;
    await page.evaluate(() => {
      location.hash = '';
    });
    await ui.leave(ada);
    await ada.open(`${server.url}/r/gear`);
    for (const [kind, chosen] of Object.entries(chosenLast))
      await until(`${chosen} is in use`, async () => (await inUse(kind)) === chosen);
    await ui.mute(ada);
    await ui.press(ada, 'Turn camera off');
    await page.reload();
    await page.getByRole('button', { name: 'Unmute', exact: true }).waitFor();
    await page.getByRole('button', { name: 'Turn camera on', exact: true }).waitFor();
    assert.deepEqual(await page.evaluate(() => captured), [], 'a device was started');
  });
});
