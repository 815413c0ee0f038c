// A meeting of three in the web client, from the first hello to a server that falls over.

import { after, before, describe, test } from 'node:test';

import { Gathering } from './lib/gathering.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

const NAMES = ['Ada', 'Ben', 'Cleo'];

// One story in the order of these tests: each begins where the one before ended.
describe('a meeting of three', { timeout: 240_000 }, () => {
  let gathering, people, server;

  before(async () => {
    gathering = await Gathering.of(NAMES);
    ({ people, server } = gathering);
  });
  after(() => gathering?.end());

  const others = (name, of = NAMES) => of.filter(other => other !== name);

  /** Everybody sees every other person's tile with a moving picture. */
  async function everyoneSeesEveryone(names, timeoutMs) {
    for (const name of names) {
      for (const other of others(name, names)) {
        const tile = ui.tile(people[name], other);
        await until(`${name} sees ${other} move`, () => ui.isMoving(tile), timeoutMs);
      }
    }
  }

  /** For each of the others a stream of its own goes on being decoded. */
  async function everyoneReceives(names, kind, measure, by, timeoutMs) {
    for (const name of names) {
      const wanted = others(name, names).length;
      const before = await people[name].received(kind);
      await until(
        `${name} decodes ${kind} of ${wanted}`,
        async () => (await people[name].growing(kind, measure, before, by)) >= wanted,
        timeoutMs,
      );
    }
  }

  test('everyone sees and hears everyone', async () => {
    for (const name of NAMES) await ui.join(people[name], server, 'meeting', name);
    await everyoneSeesEveryone(NAMES);
    await everyoneReceives(NAMES, 'video', 'framesDecoded', 30);
    // The made-up microphones beep once a second.
    await everyoneReceives(NAMES, 'audio', 'totalAudioEnergy', 1e-6);
  });

  test('who mutes is shown as muted to the others', async () => {
    await ui.mute(people.Ada);
    for (const name of others('Ada')) {
      await until(`${name} sees that Ada is muted`, () => ui.isMuted(ui.tile(people[name], 'Ada')));
    }
    await ui.unmute(people.Ada);
    for (const name of others('Ada')) {
      await until(
        `${name} sees that Ada speaks again`,
        async () => !(await ui.isMuted(ui.tile(people[name], 'Ada'))),
      );
    }
  });

  test('a shared screen appears to the others beside the camera, and goes', async () => {
    await ui.shareScreen(people.Ben);
    for (const name of others('Ben')) {
      await until(`${name} sees Ben's screen`, () => ui.isMoving(ui.screenOf(people[name], 'Ben')));
      await until(`${name} still sees Ben`, () => ui.isMoving(ui.tile(people[name], 'Ben')));
    }
    await ui.stopSharing(people.Ben);
    for (const name of others('Ben')) {
      await until(
        `Ben's screen is gone for ${name}`,
        async () => (await ui.screenOf(people[name], 'Ben').count()) === 0,
      );
    }
    await everyoneSeesEveryone(NAMES);
  });

  test('a server that is killed and started again has everyone back', async () => {
    const told = people.Ada.page
      .getByRole('alert')
      .getByText('Connection lost. Getting you back in…')
      .waitFor();
    const toldOfReturn = people.Ada.page
      .getByRole('status')
      .getByText('You are back.')
      .waitFor({ timeout: 60_000 });
    // Where something else fails first, that is what is told.
    toldOfReturn.catch(() => {});
    // Cleo's machine has lost its network as well: that is told otherwise.
    const cleo = people.Cleo;
    const toldOffline = cleo.page.getByRole('alert').getByText('This machine is offline.').waitFor();
    await cleo.context.setOffline(true);
    await server.stop('SIGKILL');
    await Promise.all([told, toldOffline]);
    await cleo.context.setOffline(false);
    await server.run();
    // A dead path is noticed by ICE only, and the pages do not come back all at once.
    await until(
      'three sessions are connected',
      async () => (await server.metrics()).sum(/^plenum_sessions_connected$/) === 3,
      60_000,
    );
    await toldOfReturn;
    await everyoneSeesEveryone(NAMES, 30_000);
    await everyoneReceives(NAMES, 'video', 'framesDecoded', 30);
    await everyoneReceives(NAMES, 'audio', 'totalAudioEnergy', 1e-6);
  });

  test('who leaves is gone from the page, and the others go on', async () => {
    await ui.leave(people.Cleo);
    for (const name of ['Ada', 'Ben']) {
      await until(
        `Cleo is gone for ${name}`,
        async () => (await ui.tile(people[name], 'Cleo').count()) === 0,
      );
    }
    await everyoneSeesEveryone(['Ada', 'Ben']);
  });

  test('who closes the tab is gone as well', async () => {
    await people.Ben.page.close({ runBeforeUnload: true });
    await until('Ben is gone for Ada', async () => (await ui.tile(people.Ada, 'Ben').count()) === 0);
  });
});
