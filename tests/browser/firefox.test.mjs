// Firefox beside Chromium: in a meeting, as a publisher and as a viewer.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Chromium } from './lib/chromium.mjs';
import { Firefox } from './lib/firefox.mjs';
import { Server } from './lib/server.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

// One story in the order of these tests: each begins where the one before ended.
describe('Firefox', { timeout: 120_000 }, () => {
  let chromium, firefox, server, ada;

  before(async () => {
    server = await Server.start();
    chromium = await Chromium.start();
    firefox = await Firefox.start();
    ada = await chromium.person();
  });
  after(async () => {
    await firefox?.stop();
    await chromium?.stop();
    await server?.stop();
    assert.deepEqual(firefox?.errors, [], 'Firefox had errors');
  });

  async function joinWithFirefox(link) {
    await firefox.open(`${server.url}/r/${link}`);
    await firefox.fill('Your name', 'Fox');
    await until('its camera runs', () => firefox.has('Turn camera off'));
    await until('its microphone runs', () => firefox.has('Mute'));
    await firefox.press('Join');
    await until('it is in the call', () => firefox.has('Leave'));
  }

  async function seesMore(frames = 20) {
    const before = await firefox.framesDecoded();
    await until('Firefox decodes', async () => (await firefox.framesDecoded()) >= before + frames);
  }

  test('it joins, sees and is seen, hears and is heard', async () => {
    await ui.join(ada, server, 'den', 'Ada');
    await joinWithFirefox('den');
    await until('Ada sees Fox', () => ui.isMoving(ui.tile(ada, 'Fox')));
    await seesMore();
    await until('Ada hears Fox', async () =>
      (await ada.received('audio')).some(({ totalAudioEnergy }) => totalAudioEnergy > 1e-6),
    );
    await firefox.press('Mute');
    await until('Ada sees that Fox is muted', () => ui.isMuted(ui.tile(ada, 'Fox')));
    await firefox.press('Unmute');
    await firefox.press('Leave');
    await until('Fox is gone', async () => (await ui.tile(ada, 'Fox').count()) === 0);
    await ui.leave(ada);
  });

  test('with a passphrase it and Chromium see and hear each other', async () => {
    const link = 'burrow#passphrase=bergamot';
    await ui.join(ada, server, link, 'Ada');
    await joinWithFirefox(link);
    await until('it says that the call is encrypted', () => firefox.has('End-to-end encrypted'));
    await until('Ada sees Fox', () => ui.isMoving(ui.tile(ada, 'Fox')));
    await until('Ada hears Fox', async () =>
      (await ada.received('audio')).some(({ totalAudioEnergy }) => totalAudioEnergy > 1e-6),
    );
    await seesMore();
    await firefox.press('Turn camera off');
    await firefox.press('Turn camera on');
    await until('Ada sees Fox again', () => ui.isMoving(ui.tile(ada, 'Fox')));
    await firefox.press('Leave');
    await ui.leave(ada);
  });

  test('it publishes what Chromium watches', async () => {
    await firefox.open(`${server.url}/publish/hill`);
    await firefox.press('Go live');
    await ada.open(`${server.url}/watch/hill`);
    await until('Ada watches', async () =>
      (await ada.received('video')).some(({ framesDecoded }) => framesDecoded > 20),
    );
  });

  test('it watches what Chromium publishes', async () => {
    await ada.open(`${server.url}/publish/valley`);
    await ui.press(ada, 'Go live');
    await firefox.open(`${server.url}/watch/valley`);
    await seesMore();
  });
});
