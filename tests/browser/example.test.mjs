// The example of the documentation, as it stands there.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Chromium } from './lib/chromium.mjs';
import { Pages } from './lib/pages.mjs';
import { Server } from './lib/server.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

describe('the example of the documentation', { timeout: 60_000 }, () => {
  let chromium, pages, server;

  before(async () => {
    [chromium, pages, server] = await Promise.all([Chromium.start(), Pages.start(), Server.start()]);
  });
  after(async () => {
    await Promise.all([chromium?.stop(), pages?.stop()]);
    await server?.stop();
  });

  test('two who open it see each other, and who uses the page of the server sees them', async () => {
    const people = [];
    for (const name of ['Ada', 'Ben']) {
      const person = await chromium.person();
      const query = new URLSearchParams({ server: server.url, room: 'example', name });
      people.push(await person.open(`${pages.url}/examples/meeting.html?${query}`));
    }
    for (const { page } of people) {
      await until('a picture moves', () => ui.isMoving(page.getByRole('main')));
    }
    const cleo = await chromium.person();
    await ui.join(cleo, server, 'example', 'Cleo');
    for (const name of ['Ada', 'Ben']) {
      await until(`Cleo sees ${name}`, () => ui.isMoving(ui.tile(cleo, name)));
    }
    for (const { log } of people)
      assert.deepEqual(
        log.filter(line => line.startsWith('uncaught')),
        [],
      );
  });
});
