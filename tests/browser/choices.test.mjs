// What one chooses on this machine, and what this machine refuses: codec, loudspeaker, a screen with
// its sound, no camera at all, no sound before a click.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gathering } from './lib/gathering.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

// One story in the order of these tests: each begins where the one before ended.
describe('choices and refusals', { timeout: 180_000 }, () => {
  let gathering, server, ada, ben;

  before(async () => {
    gathering = await Gathering.of(['Ada', 'Ben']);
    server = gathering.server;
    ({ Ada: ada, Ben: ben } = gathering.people);
    await ada.context.addInitScript(refuseWhatIsToldTo);
  });
  after(() => gathering?.end());

  /** Runs in the page: devices and players that refuse what `localStorage.refuse` names. */
  function refuseWhatIsToldTo() {
    const refuses = what => (localStorage.getItem('refuse') ?? '').includes(what);
    const { mediaDevices } = navigator;
    const devices = mediaDevices.getUserMedia.bind(mediaDevices);
    mediaDevices.getUserMedia = async wanted => {
      if (refuses('devices')) throw new DOMException('Permission denied', 'NotAllowedError');
      return devices(wanted);
    };
    // No browser without a screen shares a tab's sound: a tone takes its place.
    const screen = mediaDevices.getDisplayMedia.bind(mediaDevices);
    mediaDevices.getDisplayMedia = async wanted => {
      const stream = await screen(wanted);
      const context = new AudioContext();
      const tone = new OscillatorNode(context, { frequency: 440 });
      const out = context.createMediaStreamDestination();
      tone.connect(out);
      tone.start();
      for (const track of stream.getAudioTracks()) stream.removeTrack(track);
      if (wanted.audio) stream.addTrack(out.stream.getAudioTracks()[0]);
      return stream;
    };
    // Scripts of a driver count as somebody's wish here, so the browser's own rule never applies.
    let isClicked = false;
    addEventListener('click', ({ isTrusted }) => (isClicked ||= isTrusted), true);
    const play = HTMLMediaElement.prototype.play;
    HTMLMediaElement.prototype.play = function () {
      const isBlocked = refuses('sound') && !this.muted && !isClicked;
      return isBlocked
        ? Promise.reject(new DOMException('needs a click', 'NotAllowedError'))
        : play.call(this);
    };
    const setSinkId = HTMLMediaElement.prototype.setSinkId;
    globalThis.sinks = [];
    HTMLMediaElement.prototype.setSinkId = function (id) {
      globalThis.sinks.push(id);
      return setSinkId.call(this, id);
    };
  }

  const refuse = (person, what) =>
    person.page.evaluate(refused => localStorage.setItem('refuse', refused), what);

  /** The codecs in which frames are decoded at this moment. */
  async function codecsSeen(person) {
    const frames = await person.received('video');
    await person.page.waitForTimeout(500);
    return person.page.evaluate(before => {
      return globalThis.media.decoding(before);
    }, frames);
  }

  test('one who may not use camera and microphone is told what to do, and joins all the same', async () => {
    await ada.open(`${server.url}/r/choices`);
    await refuse(ada, 'devices');
    await ada.page.reload();
    await ada.page.getByText('does not let this page use camera and microphone', { exact: false }).waitFor();
    await ada.page.getByLabel('Your name').fill('Ada');
    await ui.press(ada, 'Join');
    await ada.page.getByRole('button', { name: 'Leave', exact: true }).waitFor();
    await ui.join(ben, server, 'choices', 'Ben');
    await until('Ada sees Ben', () => ui.isMoving(ui.tile(ada, 'Ben')));
    await refuse(ada, '');
    await ui.press(ada, 'Turn camera on');
    await until('Ben sees Ada', () => ui.isMoving(ui.tile(ben, 'Ada')));
  });

  for (const [option, mime] of [
    ['VP9, sharper at the same rate', 'video/VP9'],
    ['H.264, often in hardware', 'video/H264'],
    ['AV1, sharpest, most work', 'video/AV1'],
    ['Automatic', 'video/VP8'],
  ]) {
    test(`who chooses “${option}” is seen in ${mime}`, async () => {
      await ui.pick(ada, 'Choose camera', 'Codec', option);
      await until(`Ben decodes ${mime}`, async () => (await codecsSeen(ben)).join() === mime, 20_000);
      await until('Ben sees Ada', () => ui.isMoving(ui.tile(ben, 'Ada')));
    });
  }

  test('what was chosen once is chosen the next time', async () => {
    await ui.pick(ada, 'Choose camera', 'Codec', 'VP9, sharper at the same rate');
    await ui.pick(ada, 'Choose camera', 'Send', 'Low quality');
    await ui.leave(ada);
    await ada.open(`${server.url}/r/choices`);
    const name = ada.page.getByLabel('Your name');
    await until('her name stands there', async () => (await name.inputValue()) === 'Ada');
    await ada.page.getByRole('button', { name: 'Turn camera off' }).waitFor();
    await ada.page.getByRole('button', { name: 'Mute', exact: true }).waitFor();
    await ui.press(ada, 'Join');
    await ada.page.getByRole('button', { name: 'Leave', exact: true }).waitFor();
    await until('Ben decodes VP9 again', async () => (await codecsSeen(ben)).join() === 'video/VP9');
    await ui.pick(ada, 'Choose camera', 'Codec', 'Automatic');
    await ui.pick(ada, 'Choose camera', 'Send', 'High quality');
  });

  test('sound comes out of the loudspeaker that is chosen', async () => {
    await ada.page.getByRole('button', { name: 'Microphone and loudspeaker', exact: true }).click();
    const picker = ada.page.getByRole('combobox', { name: 'Loudspeaker', exact: true });
    const id = await until('there is one', () =>
      picker
        .locator('option')
        .evaluateAll(options => options.map(({ value }) => value).find(value => !/^(default)?$/.test(value))),
    );
    await picker.selectOption(id);
    await ada.page.keyboard.press('Escape');
    const isUsed = () => ada.page.evaluate(id => globalThis.sinks.at(-1) === id, id);
    await until('players use it', isUsed);
    await ui.leave(ada);
    await ui.join(ada, server, 'choices', 'Ada');
    await until('players use it the next time', isUsed);
  });

  test('the sound of a shared screen is heard while its sharer is muted', async () => {
    await ui.mute(ada);
    await ui.shareScreen(ada);
    await until('Ben sees the screen', () => ui.isMoving(ui.screenOf(ben, 'Ada')));
    const energy = async () =>
      (await ben.received('audio')).reduce((sum, stream) => sum + (stream.totalAudioEnergy ?? 0), 0);
    const before = await energy();
    await until('Ben hears it', async () => (await energy()) > before + 0.01);
    await ui.stopSharing(ada);
    await until('the screen is gone', async () => (await ui.screenOf(ben, 'Ada').count()) === 0);
    await ui.leave(ada);
  });

  test('who joins with sound only sends no picture and gets none', async () => {
    await ada.open(`${server.url}/r/choices`);
    await ada.page.getByText('Sound only').click();
    await ui.press(ada, 'Join');
    await ada.page.getByRole('button', { name: 'Leave', exact: true }).waitFor();
    await until('Ada hears Ben', async () =>
      (await ada.received('audio')).some(({ totalAudioEnergy }) => totalAudioEnergy > 1e-6),
    );
    assert.equal((await ada.sent('video')).filter(({ framesSent }) => framesSent > 0).length, 0);
    // What is shown to all who come goes on until the page has said what it wants.
    await until('no picture comes', async () => {
      const pictures = await ada.received('video');
      await ada.page.waitForTimeout(1000);
      return (await ada.growing('video', 'framesDecoded', pictures, 1)) === 0;
    });
    await ui.leave(ada);
    await ada.page.reload();
    const mode = ada.page.getByRole('radio', { name: 'Sound only' });
    await until('it is chosen the next time', () => mode.isChecked());
    await ada.page.evaluate(() => localStorage.setItem('plenum', '{}'));
  });

  test('where the browser wants a click before sound, the page asks for it', async () => {
    await refuse(ada, 'sound');
    await ada.open(`${server.url}/r/choices`);
    await ada.page.getByRole('button', { name: 'Turn camera off' }).waitFor();
    // A form that is sent by a script is no click.
    await ada.page.evaluate(() => document.querySelector('form').requestSubmit());
    await ada.page.getByText('Your browser keeps the sound off until you click.').waitFor();
    await ui.press(ada, 'Turn sound on');
    await ada.page
      .getByText('Your browser keeps the sound off until you click.')
      .waitFor({ state: 'hidden' });
    await until('Ada hears Ben', async () =>
      (await ada.received('audio')).some(({ totalAudioEnergy }) => totalAudioEnergy > 1e-6),
    );
  });
});
