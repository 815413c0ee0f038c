// The pages for everyone: checked by axe-core as they stand, in both languages, and by keyboard.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';

import { Chromium } from './lib/chromium.mjs';
import { Server } from './lib/server.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// One story in the order of these tests: each begins where the one before ended.
describe('pages that everyone can use', { timeout: 120_000 }, () => {
  let chromium, server, ada, ben;

  before(async () => {
    chromium = await Chromium.start();
    server = await Server.start();
    [ada, ben] = [await chromium.person(), await chromium.person()];
  });
  after(async () => {
    await chromium?.stop();
    await server?.stop();
  });

  /** Fails with what axe-core found, light and dark; every rule of its own choice. */
  async function assertAccessible({ page }, what) {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(AXE);
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      const found = violations.flatMap(({ id, help, nodes }) =>
        nodes.map(({ target, failureSummary }) => `${id}: ${help}: ${target}: ${failureSummary}`),
      );
      assert.deepEqual(found, [], `${what}, ${colorScheme}`);
    }
  }

  test('the front page, the lobby and the pages of broadcasts have no violation', async () => {
    for (const path of ['/', '/r/tea', '/publish/tea', '/watch/tea', '/direct/tea']) {
      await ada.open(server.url + path);
      await ada.page.getByRole('button').first().waitFor();
      await assertAccessible(ada, path);
    }
  });

  test('a call has none, with its panels, menus and sheets open', async () => {
    await ui.join(ada, server, 'tea', 'Ada');
    await ui.join(ben, server, 'tea', 'Ben');
    await until('Ada sees Ben', () => ui.isMoving(ui.tile(ada, 'Ben')));
    await assertAccessible(ada, 'a call');
    await ui.openChat(ada);
    await ui.write(ada, 'Hello, see https://example.org');
    await assertAccessible(ada, 'the chat');
    await ui.openPeople(ada);
    await assertAccessible(ada, 'the list of people');
    await ui.press(ada, 'More');
    await assertAccessible(ada, 'a menu');
    await ada.page.keyboard.press('Escape');
    await ada.page.locator('body').press('?');
    await ada.page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
    await assertAccessible(ada, 'the sheet of shortcuts');
    await ada.page.keyboard.press('Escape');
  });

  test('the keyboard alone mutes, turns the camera off, and leaves', async () => {
    const { page } = ada;
    await page.locator('body').press('m');
    await until('Ben sees that Ada is muted', () => ui.isMuted(ui.tile(ben, 'Ada')));
    await page.getByRole('button', { name: 'Turn camera off' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Turn camera on' }).waitFor();
    await page.getByRole('button', { name: 'Leave', exact: true }).focus();
    await page.keyboard.press('Enter');
    await page.getByText('You left the room.').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Join again');
  });

  test('who reads German gets the page in German', async () => {
    const { page } = await ada.open(`${server.url}/`);
    await page.getByLabel('Language').selectOption('de');
    await page.getByRole('button', { name: 'Raum öffnen' }).click();
    await page.getByRole('button', { name: 'Beitreten', exact: true }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'de');
    await assertAccessible(ada, 'the lobby in German');
  });

  test('from right to left nothing stands outside of the page', async () => {
    const { page } = ada;
    await page.evaluate(() => {
      document.documentElement.dir = 'rtl';
    });
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 800 });
      const outside = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.equal(outside, 0, `${width} pixels wide`);
    }
    // The form stands left of the preview, which in English is on the left itself.
    await page.setViewportSize({ width: 1280, height: 800 });
    const [form, preview] = [page.locator('.lobby-form'), page.locator('.preview')];
    assert.ok((await form.boundingBox()).x < (await preview.boundingBox()).x);
  });
});
