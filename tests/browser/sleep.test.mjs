// A laptop that is closed in a meeting and opened again: nothing of the browser runs meanwhile, and
// nobody tells it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Chromium } from './lib/chromium.mjs';
import { Gathering } from './lib/gathering.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

/** A server gives up whoever has been silent for 15 s; this is longer. */
const LONG_SLEEP_MS = 20_000;

describe('a machine that sleeps during a meeting', { timeout: 120_000 }, () => {
  let gathering, server, ada, laptop, ben;

  before(async () => {
    gathering = await Gathering.of(['Ada']);
    server = gathering.server;
    ada = gathering.people.Ada;
    laptop = await Chromium.start();
    ben = await laptop.person();
  });
  after(async () => {
    await laptop?.stop();
    await gathering?.end();
  });

  test('is missed while it sleeps, and comes back by itself when it wakes up', async () => {
    await ui.join(ada, server, 'nap', 'Ada');
    await ui.join(ben, server, 'nap', 'Ben');
    await until('Ada sees Ben', () => ui.isMoving(ui.tile(ada, 'Ben')));
    const group = await laptop.processGroup();
    process.kill(-group, 'SIGSTOP');
    try {
      await sleep(LONG_SLEEP_MS);
      await until('Ben is gone', async () => (await ui.tile(ada, 'Ben').count()) === 0);
    } finally {
      process.kill(-group, 'SIGCONT');
    }
    await ben.page.getByText('You are back.').waitFor();
    await until('Ada sees Ben again', () => ui.isMoving(ui.tile(ada, 'Ben')), 30_000);
    await until('Ben sees Ada again', () => ui.isMoving(ui.tile(ben, 'Ada')));
    assert.equal(await ui.tile(ada, 'Ben').count(), 1, 'Ben is there once');
  });
});
