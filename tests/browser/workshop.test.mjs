// A room on a page of one's own, built from room.js: the page says what it wants to see, and gets
// that and nothing else.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Chromium } from './lib/chromium.mjs';
import { Pages } from './lib/pages.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

// One story in the order of these tests: each begins where the one before ended.
describe('a room on a page of one’s own', { timeout: 120_000 }, () => {
  let chromium, pages, server, ada, ben, cleo;

  before(async () => {
    chromium = await Chromium.start();
    pages = await Pages.start();
    server = await Server.start();
    [ada, ben, cleo] = await Promise.all([chromium.person(), chromium.person(), chromium.person()]);
    for (const [person, name, options] of [
      [ada, 'Ada', {}],
      [ben, 'Ben', {}],
      [cleo, 'Cleo', { watchOnly: true }],
    ]) {
      await person.open(`${pages.url}/modules.html`);
      await person.page.waitForFunction(() => globalThis.modules);
      await person.page.evaluate(
        ([url, name, options]) => modules.join(url, name, options),
        [server.url, name, options],
      );
    }
  });
  after(async () => {
    await Promise.all([chromium?.stop(), pages?.stop()]);
    const end = await server?.stop();
    assert.equal(end?.code, 0, server?.lastWords);
  });

  const want = (person, names) =>
    until(`the cameras of ${names} are known`, () =>
      person.page.evaluate(names => modules.want(names), names),
    );

  /** That many pictures move, and no more. */
  async function seesExactly(person, count) {
    const moving = async () => {
      const before = await person.received('video');
      await sleep(1000);
      return person.growing('video', 'framesDecoded', before, 3);
    };
    await until(`exactly ${count} pictures move`, async () => (await moving()) === count);
  }

  test('everyone is told who is there', async () => {
    for (const [person, names] of [
      [ada, ['Ben', 'Cleo']],
      [ben, ['Ada', 'Cleo']],
      [cleo, ['Ada', 'Ben']],
    ]) {
      await until(`${names} are there`, async () => {
        return (await person.page.evaluate(() => modules.others())).join() === names.join();
      });
    }
  });

  test('a page that asks for nothing hears and sees everyone', async () => {
    const before = await cleo.received('audio');
    await until(
      'two voices are heard',
      async () => (await cleo.growing('audio', 'totalAudioEnergy', before, 1e-6)) === 2,
    );
    await seesExactly(cleo, 2);
  });

  test('a page gets the pictures it asks for, and only those', async () => {
    await want(cleo, ['Ada']);
    await seesExactly(cleo, 1);
    await want(cleo, ['Ada', 'Ben']);
    await seesExactly(cleo, 2);
    await want(cleo, ['Ben']);
    await seesExactly(cleo, 1);
    await want(cleo, []);
    await seesExactly(cleo, 0);
  });

  test('a small picture is sent small, and a large one large', async () => {
    const width = async () => {
      const before = await cleo.received('video');
      await sleep(500);
      const now = await cleo.received('video');
      const moving = now.filter(
        ({ id, framesDecoded }) => framesDecoded > (before.find(stat => stat.id === id)?.framesDecoded ?? 0),
      );
      return moving.length === 1 ? moving[0].frameWidth : null;
    };
    await cleo.page.evaluate(() => modules.want(['Ada'], 320, 180));
    await until('a quarter of the camera’s width', async () => (await width()) === 320, 20_000);
    await cleo.page.evaluate(() => modules.want(['Ada'], 1280, 720));
    await until('all of the camera’s width', async () => (await width()) === 1280, 20_000);
  });

  test('a change of network restarts ICE, and the picture goes on', async () => {
    const before = await cleo.page.evaluate(() => modules.ufrag());
    const { length } = await cleo.page.evaluate(() => modules.states);
    await cleo.page.evaluate(() => dispatchEvent(new Event('online')));
    await until('ICE is new', async () => (await cleo.page.evaluate(() => modules.ufrag())) !== before);
    await seesExactly(cleo, 1);
    assert.equal(
      (await cleo.page.evaluate(() => modules.states)).length,
      length,
      'the page had to join again',
    );
  });
});
