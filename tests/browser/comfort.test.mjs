// What makes a call bearable: checks before it, choices in it, and what happens when things go wrong.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Chromium, Person } from './lib/chromium.mjs';
import { Server } from './lib/server.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

// One story in the order of these tests: each begins where the one before ended.
describe('a call that suits whoever is in it', { timeout: 180_000 }, () => {
  let chromium, server, ada, ben;

  before(async () => {
    chromium = await Chromium.start();
    server = await Server.start();
    [ada, ben] = [await chromium.person(), await chromium.person()];
    // Tracks are remembered, so that a device can be pulled out.
    await ada.context.addInitScript(() => {
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      globalThis.captured = [];
      navigator.mediaDevices.getUserMedia = async wanted => {
        const stream = await real(wanted);
        globalThis.captured.push(...stream.getTracks());
        return stream;
      };
    });
  });
  after(async () => {
    await chromium?.stop();
    const end = await server?.stop();
    for (const person of [ada, ben]) {
      const uncaught = person?.log.filter(line => line.startsWith('uncaught')) ?? [];
      assert.deepEqual(uncaught, [], 'a page had errors');
    }
    assert.equal(end?.code, 0, server?.lastWords);
  });

  /** How many received pictures move at this moment. */
  async function moving(person) {
    const before = await person.received('video');
    await person.page.waitForTimeout(1000);
    return person.growing('video', 'framesDecoded', before, 3);
  }

  test('the lobby tells how media will travel', async () => {
    await ada.open(`${server.url}/r/ease`);
    await ui.press(ada, 'Check the connection');
    const { udp } = server.ports;
    await ada.page.getByText(`Works well: UDP to 127.0.0.1:${udp}, round trip`).waitFor();
  });

  test('who mutes before joining comes in muted, and who just watches has no tile', async () => {
    await ui.mute(ada);
    await ada.page.getByLabel('Your name').fill('Ada');
    await ui.press(ada, 'Join');
    await ada.page.getByRole('button', { name: 'Leave', exact: true }).waitFor();
    await ben.open(`${server.url}/r/ease`);
    await ben.page.getByLabel('Your name').fill('Ben');
    await ben.page.getByText('Just watching').click();
    await ui.press(ben, 'Join');
    await until('Ben sees Ada', () => ui.isMoving(ui.tile(ben, 'Ada')));
    await until('Ada is muted', () => ui.isMuted(ui.tile(ben, 'Ada')));
    await ui.openPeople(ada);
    const watching = ada.page.getByRole('list', { name: 'Watching' });
    await until('Ben is among those who watch', async () => /Ben/.test(await ui.textOf(watching)));
    assert.equal(await ui.tile(ada, 'Ben').count(), 0);
    await ui.leave(ben);
  });

  test('the space bar lets one speak for as long as it is held', async () => {
    await ben.open(`${server.url}/r/ease`);
    await ben.page.getByText('Camera and sound').click();
    await ui.join(ben, server, 'ease', 'Ben');
    await until('Ben sees Ada', () => ui.isMoving(ui.tile(ben, 'Ada')));
    await ada.page.locator('.stage').click({ position: { x: 5, y: 5 } });
    await ada.page.keyboard.down(' ');
    await until('Ada is heard', async () => !(await ui.isMuted(ui.tile(ben, 'Ada'))));
    await ada.page.keyboard.up(' ');
    await until('Ada is silent again', () => ui.isMuted(ui.tile(ben, 'Ada')));
  });

  test('who wants small pictures gets small ones, and who wants sound alone gets no pictures', async () => {
    const width = async () =>
      Math.max(...(await ben.received('video')).map(stream => stream.frameWidth ?? 0));
    await until('Ben gets a large picture', async () => (await width()) > 320);
    await ui.pick(ben, 'More', 'Receive', 'Small pictures');
    await until('it is small', async () => (await width()) <= 320);
    await ui.pick(ben, 'More', 'Receive', 'Sound only');
    await until('pictures stand still', async () => (await moving(ben)) === 0);
    await ui.pick(ben, 'More', 'Receive', 'Everything');
    await until('they move again', async () => (await moving(ben)) === 1);
  });

  test('who chooses low quality sends one small picture', async () => {
    const layers = async () => {
      const before = await ada.sent('video');
      await ada.page.waitForTimeout(1000);
      const now = await ada.sent('video');
      return now.filter(({ id, framesSent }) => framesSent > before.find(old => old.id === id)?.framesSent);
    };
    await ui.pick(ada, 'Choose camera', 'Send', 'Low quality');
    await until('one layer is left', async () => {
      const sent = await layers();
      return sent.length === 1 && sent[0].frameWidth <= 320;
    });
    await until('Ben still sees Ada', () => ui.isMoving(ui.tile(ben, 'Ada')));
    await ui.pick(ada, 'Choose camera', 'Send', 'High quality');
    await until('more are sent', async () => (await layers()).length > 1);
  });

  test('the page fills the screen, and a picture gets a window of its own', async () => {
    await ada.page.keyboard.press('f');
    await until('it fills the screen', () => ada.page.evaluate(() => document.fullscreenElement !== null));
    await ada.page.keyboard.press('f');
    await until('it does not', () => ada.page.evaluate(() => document.fullscreenElement === null));
    await ui.press(ada, 'More');
    await ada.page.getByRole('button', { name: 'Picture in picture' }).click();
    await until('there is a window', () =>
      ada.page.evaluate(() => document.pictureInPictureElement !== null),
    );
    await ada.page.evaluate(() => document.exitPictureInPicture());
  });

  test('a bad connection is named in words, with whose it is', async () => {
    await ben.page.evaluate(() => {
      const { prototype } = RTCPeerConnection;
      const real = prototype.getStats;
      prototype.getStats = async function () {
        const report = await real.call(this);
        const worse = [...report].map(([id, entry]) =>
          entry.type === 'inbound-rtp' ? [id, { ...entry, packetsLost: entry.packetsReceived }] : [id, entry],
        );
        prototype.getStats = globalThis.isWell ? real : prototype.getStats;
        return new Map(worse);
      };
    });
    await ui.tile(ben, 'Ada').getByRole('img', { name: 'Your connection is bad' }).waitFor();
    await ben.page.evaluate(() => {
      globalThis.isWell = true;
    });
    await ui
      .tile(ben, 'Ada')
      .getByRole('img', { name: 'Your connection is bad' })
      .waitFor({ state: 'detached' });
  });

  test('a camera that is pulled out is said to be, and can be turned on again', async () => {
    await ada.page.evaluate(() => {
      const camera = globalThis.captured.findLast(({ kind }) => kind === 'video');
      camera.stop();
      camera.dispatchEvent(new Event('ended'));
    });
    await ada.page.getByText('Camera was unplugged.').waitFor();
    await ada.page.getByRole('button', { name: 'Turn camera on' }).click();
    await until('Ben sees Ada again', () => ui.isMoving(ui.tile(ben, 'Ada')));
  });

  test('a tab that nobody looks at receives no pictures', async () => {
    const look = isHidden =>
      ben.page.evaluate(hidden => {
        Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
        document.dispatchEvent(new Event('visibilitychange'));
      }, isHidden);
    await look(true);
    await until('pictures stand still', async () => (await moving(ben)) === 0, 20_000);
    await look(false);
    await until('they move again', async () => (await moving(ben)) === 1);
  });

  test('who opens the room in a second tab goes on there, and leaves it in the first', async () => {
    const second = new Person(ada.context, await ada.context.newPage());
    await second.open(`${server.url}/r/ease`);
    await second.page.getByText('You are in this room in another tab.').waitFor();
    await ui.press(second, 'Join');
    await ada.page.getByText('You continue in another tab.').waitFor();
    await until('Ben sees one Ada', async () => (await ui.tile(ben, 'Ada').count()) === 1);
  });
});
