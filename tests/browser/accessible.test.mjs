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
    await ada.page.locator('body').press('i');
    await ada.page.getByRole('region', { name: 'Connection details' }).waitFor();
    await assertAccessible(ada, 'the details of the connection');
    await ada.page.locator('body').press('i');
    await ui.closePeople(ada);
  });

  test("the operator's page has none, fits a telephone, and says why a picture is as it is", async () => {
    const operator = await chromium.person();
    const { page } = operator;
    await operator.open(`${server.operatorUrl}/admin`);
    await page.getByText('2 sessions in 1 room').waitFor();
    await assertAccessible(operator, 'the rooms');
    await page.getByRole('link', { name: 'Ada', exact: true }).click();
    const slot = page.getByRole('listitem').filter({ hasText: 'Ben: camera' });
    await slot.getByText('it flows').first().waitFor();
    await page.getByText('shows the camera of Ben').first().waitFor();
    await assertAccessible(operator, 'a session');
    await page.setViewportSize({ width: 390, height: 844 });
    const tooWide = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok((await tooWide()) <= 0, 'a session');
    await page.getByRole('link', { name: 'All rooms' }).click();
    await page.getByRole('link', { name: 'Ben', exact: true }).waitFor();
    assert.ok((await tooWide()) <= 0, 'the rooms');
    await operator.close();
  });

  test('a call on a telephone has none either, with its panels and menus', async () => {
    await ada.page.setViewportSize({ width: 390, height: 844 });
    await ui.openPeople(ada);
    await assertAccessible(ada, 'the list of people on a telephone');
    await ui.closePeople(ada);
    await assertAccessible(ada, 'a call on a telephone');
    await ui.openChat(ada);
    await assertAccessible(ada, 'the chat on a telephone');
    await ui.press(ada, 'Close chat');
    for (const name of ['More', 'Choose camera', 'Microphone and loudspeaker']) {
      await ui.press(ada, name);
      await ada.page.getByRole('dialog', { name }).waitFor();
      await assertAccessible(ada, `“${name}” on a telephone`);
      await ada.page.keyboard.press('Escape');
    }
    await ada.page.setViewportSize({ width: 1280, height: 720 });
  });

  /** Controls that a window cuts off at a side, or that are too narrow to be hit (WCAG 2.5.8). */
  const outOfReach = ({ page }) =>
    page.evaluate(() => {
      const isSeen = it => it.checkVisibility({ opacityProperty: true, visibilityProperty: true });
      return [...document.querySelectorAll('button, select, textarea')]
        .filter(isSeen)
        .map(it => [it.ariaLabel ?? it.textContent, it.getBoundingClientRect()])
        .filter(([, { left, right, width }]) => left < 0 || right > innerWidth || width < 24)
        .map(([name, { left, right }]) => `${name}: ${left} to ${right}`);
    });

  /** Waits until a call has its place in a window of this size, and looks at each part of it. */
  async function assertWithinReach(person, width, height) {
    const { page } = person;
    const what = `${width}×${height}`;
    await page.setViewportSize({ width, height });
    const fits = part =>
      until(`all of ${part} is in a window of ${what}`, async () => {
        const outside = await outOfReach(person);
        if (outside.length > 0) throw new Error(outside.join(', '));
        return page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
      });
    await fits('the call');
    await ui.press(person, 'More');
    await fits('a menu');
    await page.keyboard.press('Escape');
    await ui.openChat(person, /^Chat/);
    await page.getByRole('textbox', { name: 'Message' }).fill('x'.repeat(200));
    await fits('the chat, whatever is written');
    await page.getByRole('textbox', { name: 'Message' }).fill('');
    await ui.press(person, 'Close chat');
    await ui.openPeople(person);
    const others = ui.person(person, 'Ben');
    await others.scrollIntoViewIfNeeded();
    await until('the list has room', async () => {
      const { y, height: high } = await others.boundingBox();
      return y >= 0 && y + high <= height;
    });
    await fits('the list of people');
    await ui.closePeople(person);
  }

  test('in the smallest window, which is that of a page at 400 %, nothing is out of reach', async () => {
    // WCAG 1.4.10: 1280×1024 pixels at 400 %; and the smallest telephones.
    for (const [width, height] of [
      [320, 256],
      [320, 568],
      [360, 640],
    ])
      await assertWithinReach(ada, width, height);
    await ada.page.setViewportSize({ width: 1280, height: 720 });
  });

  test('a menu stays in the window of a telephone that is turned', async () => {
    const { page } = ada;
    await page.setViewportSize({ width: 844, height: 390 });
    await ui.press(ada, 'More');
    await page.setViewportSize({ width: 390, height: 844 });
    await until('all of it is in the window', () =>
      page.getByRole('dialog', { name: 'More' }).evaluate(menu => {
        const { left, top, right, bottom } = menu.getBoundingClientRect();
        return innerWidth === 390 && left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
      }),
    );
    await page.keyboard.press('Escape');
    await page.setViewportSize({ width: 1280, height: 720 });
  });

  test('a call from right to left has all in its window, and its chat on the left', async () => {
    const { page } = ada;
    const turn = dir =>
      page.evaluate(dir => {
        document.documentElement.dir = dir;
      }, dir);
    await turn('rtl');
    for (const [width, height] of [
      [390, 844],
      [820, 1180],
      [1280, 720],
    ])
      await assertWithinReach(ada, width, height);
    await ui.openChat(ada, /^Chat/);
    const chat = page.getByRole('complementary', { name: 'Chat' });
    await until('the chat is on the left of Ben', async () => {
      const [panel, tile] = await Promise.all([chat.boundingBox(), ui.tile(ada, 'Ben').boundingBox()]);
      return panel.x + panel.width <= tile.x;
    });
    await ui.press(ada, 'Close chat');
    await turn('ltr');
  });

  test('where the system chooses the colours, lines tell what colours told', async () => {
    const { page } = ada;
    await page.emulateMedia({ forcedColors: 'active' });
    const styleOf = (locator, property) =>
      locator.evaluate((it, name) => getComputedStyle(it)[name], property);
    await ui.press(ada, 'Choose camera');
    const track = page.getByRole('dialog', { name: 'Choose camera' }).locator('.toggle-track');
    assert.notEqual(await styleOf(track, 'borderTopWidth'), '0px', 'a switch is not seen');
    await page.keyboard.press('Escape');
    // Who speaks is decided by the server, and not by a beep: the tile is looked at as it would be then.
    const ring = await ui.tile(ada, 'Ben').evaluate(tile => {
      tile.classList.add('is-speaking');
      const { outlineStyle } = getComputedStyle(tile);
      tile.classList.remove('is-speaking');
      return outlineStyle;
    });
    assert.equal(ring, 'solid', 'who speaks has no ring');
    await page.emulateMedia({ forcedColors: 'none' });
  });

  test('whoever does not see the page is told who comes, writes, and what their own keys do', async () => {
    const { page } = ada;
    const told = words => page.getByRole('status').getByText(words).waitFor({ state: 'attached' });
    await ui.leave(ben);
    await told('Ben left');
    await ui.join(ben, server, 'tea', 'Ben');
    await told('Ben joined');
    await ui.openChat(ben, /^Chat/);
    await ui.write(ben, 'Shall we?');
    await told('Ben: Shall we?');
    await ui.press(ben, 'Raise hand');
    await told('Ben raised a hand');
    await page.locator('body').press('m');
    await told('You are muted');
    await page.locator('body').press('m');
    await told('Others hear you');
  });

  /** What moves or grows on the page at this moment. */
  const movements = page =>
    page.evaluate(() => {
      const isMovement = name =>
        /^(translate|scale|rotate|transform|inset|(inline|block)Size|left|top|width|height)/.test(name);
      return document
        .getAnimations()
        .filter(({ effect }) => effect.getKeyframes().some(frame => Object.keys(frame).some(isMovement)))
        .map(({ animationName, transitionProperty }) => animationName ?? transitionProperty);
    });

  /** Does what makes things move, and returns what did. */
  async function movementsOfALivelyCall({ page }) {
    const seen = new Set();
    const look = async () => {
      for (const name of await movements(page)) seen.add(name);
    };
    await page.locator('body').press('l');
    await look();
    await page.locator('body').press('l');
    await look();
    await ui.press(ben, 'React');
    await ben.page.getByRole('button', { name: 'Applause' }).click();
    await page.locator('.float').first().waitFor();
    await look();
    await page.locator('.float').first().waitFor({ state: 'detached' });
    return [...seen];
  }

  test('who wants less motion gets none: tiles are where they belong, and reactions do not fly', async () => {
    // In a meeting of three tiles have somewhere to go.
    const cleo = await chromium.person();
    await ui.join(cleo, server, 'tea', 'Cleo');
    await until('Ada sees Cleo', () => ui.isMoving(ui.tile(ada, 'Cleo')));
    await ada.page.emulateMedia({ reducedMotion: 'no-preference' });
    assert.notDeepEqual(await movementsOfALivelyCall(ada), []);
    await ada.page.emulateMedia({ reducedMotion: 'reduce' });
    assert.deepEqual(await movementsOfALivelyCall(ada), []);
    await cleo.close();
  });

  /** Presses Tab until the focus is on what has this name. */
  async function tabTo({ page }, name) {
    const focused = () =>
      page.evaluate(() => {
        const it = document.activeElement;
        return it?.ariaLabel ?? it?.labels?.[0]?.textContent ?? it?.textContent?.trim() ?? '';
      });
    for (let presses = 0; presses < 40; presses += 1) {
      await page.keyboard.press('Tab');
      const at = await focused();
      if (name instanceof RegExp ? name.test(at) : at === name) {
        const { outlineStyle, outlineWidth } = await page.evaluate(() => {
          const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
          return { outlineStyle, outlineWidth };
        });
        assert.ok(outlineStyle !== 'none' && outlineWidth !== '0px', `the focus on “${name}” does not show`);
        return;
      }
    }
    assert.fail(`Tab does not come to “${name}”`);
  }

  test('the keyboard alone is enough for a whole call', async () => {
    const { page } = ada;
    const press = async name => {
      await tabTo(ada, name);
      await page.keyboard.press('Enter');
    };
    const focusComesTo = name =>
      until(`the focus is on “${name}”`, () =>
        page.evaluate(name => {
          const { ariaLabel, textContent } = document.activeElement;
          return (ariaLabel ?? textContent) === name;
        }, name),
      );
    await ui.leave(ada);
    await page.getByText('You left the room.').waitFor();
    await page.goto(`${server.url}/r/tea`);
    await page.getByRole('button', { name: 'Turn camera off' }).waitFor();
    await page.getByRole('button', { name: 'Mute', exact: true }).waitFor();
    await tabTo(ada, 'Your name');
    await page.keyboard.press('Control+a');
    await page.keyboard.type('Ada');
    await press('Join');
    await until('Ada is in the room', () =>
      page.evaluate(() => document.activeElement?.textContent === 'tea'),
    );
    await until('Ben sees Ada', () => ui.isMoving(ui.tile(ben, 'Ada')));

    await press('Mute');
    await until('Ben sees that Ada is muted', () => ui.isMuted(ui.tile(ben, 'Ada')));
    await press('Turn camera off');
    await page.getByRole('button', { name: 'Turn camera on' }).waitFor();
    const picture = ui.tile(ben, 'Ada').and(ben.page.locator('.has-picture'));
    await until('Ben sees no picture of Ada', async () => (await picture.count()) === 0);

    await press('More');
    const focusIsIn = name =>
      page.evaluate(label => document.activeElement?.closest('[popover]')?.ariaLabel === label, name);
    await until('the focus is in the menu', () => focusIsIn('More'));
    await page.keyboard.press('Escape');
    await focusComesTo('More');

    // Its name tells what is unread.
    await press(/^Chat/);
    await tabTo(ada, 'Message');
    await page.keyboard.type('By keyboard alone');
    await page.keyboard.press('Enter');
    await until('Ben reads it', async () => (await ui.message(ben, 'By keyboard alone').count()) === 1);
    await page.keyboard.press('Escape');
    await focusComesTo('Chat');

    await press('Leave');
    await page.getByText('You left the room.').waitFor();
    await focusComesTo('Join again');
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
      await until(`nothing is outside of ${width} pixels`, () =>
        page.evaluate(width => {
          const { scrollWidth, clientWidth } = document.documentElement;
          return innerWidth === width && scrollWidth === clientWidth;
        }, width),
      );
    }
    // The form stands left of the preview, which in English is on the left itself.
    await page.setViewportSize({ width: 1280, height: 800 });
    await until('the form is on the left', () =>
      page.evaluate(() => {
        const left = name => document.querySelector(name).getBoundingClientRect().x;
        return left('.lobby-form') < left('.preview');
      }),
    );
  });
});
