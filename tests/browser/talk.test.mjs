// A meeting beyond pictures and sound: chat, hands, reactions, and a host who looks after the room.

import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import { Gathering } from './lib/gathering.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

const NAMES = ['Ada', 'Ben', 'Cleo'];

// One story in the order of these tests: each begins where the one before ended.
describe('a meeting where people write, wave and look after the room', { timeout: 120_000 }, () => {
  let gathering, people, server;

  before(async () => {
    gathering = await Gathering.of(NAMES);
    ({ people, server } = gathering);
    for (const name of ['Ada', 'Ben']) await ui.join(people[name], server, 'talk', name);
    await until('Ada sees Ben', async () => (await ui.tile(people.Ada, 'Ben').count()) === 1);
  });
  after(() => gathering?.end());

  test('a message that comes while the chat is closed is counted, and read when it is opened', async () => {
    await ui.openChat(people.Ada);
    await ui.write(people.Ada, 'The agenda: https://example.org/agenda(1). <b>Bring tea!</b>');
    await until('Ben is told of one message', () => ui.hasButton(people.Ben, 'Chat, 1 new message'));
    await until('the title tells, too', async () => /^\(1\) /.test(await people.Ben.page.title()));
    await ui.openChat(people.Ben, 'Chat, 1 new message');
    const message = ui.message(people.Ben, 'Bring tea!');
    await until('Ben reads it', async () => (await message.count()) === 1);
    assert.match(await message.textContent(), /^Ada/);
    assert.match(await message.textContent(), /<b>Bring tea!<\/b>/, 'what is written is never markup');
    const link = message.getByRole('link');
    assert.equal(await link.getAttribute('href'), 'https://example.org/agenda(1)');
    assert.equal(await link.getAttribute('rel'), 'noopener noreferrer');
    await until('nothing is unread any more', () => ui.hasButton(people.Ben, 'Chat'));
  });

  test('who comes later reads what was written to everyone', async () => {
    await ui.join(people.Cleo, server, 'talk', 'Cleo');
    await until('one message waits', () => ui.hasButton(people.Cleo, 'Chat, 1 new message'));
    await ui.openChat(people.Cleo, 'Chat, 1 new message');
    await until('Cleo reads it', async () => (await ui.message(people.Cleo, 'Bring tea!').count()) === 1);
  });

  test('a private message is seen by one alone', async () => {
    await until('Ben knows Cleo', async () => (await ui.tile(people.Ben, 'Cleo').count()) === 1);
    await ui.write(people.Ben, 'Between us', 'Cleo');
    await until('Cleo reads it', async () => (await ui.message(people.Cleo, 'Between us').count()) === 1);
    assert.match(await ui.message(people.Cleo, 'Between us').textContent(), /to you alone/);
    // One that follows it shows that Ada has had the time to get both.
    await ui.write(people.Ben, 'To all of you', 'Everyone');
    await until('Ada reads it', async () => (await ui.message(people.Ada, 'To all of you').count()) === 1);
    assert.equal(await ui.message(people.Ada, 'Between us').count(), 0);
  });

  test('a raised hand is seen on the tile and in the list, until it is lowered', async () => {
    await ui.press(people.Ben, 'Raise hand');
    for (const name of ['Ada', 'Cleo']) {
      const tile = ui.tile(people[name], 'Ben');
      await until(`${name} sees Ben's hand`, async () => /hand raised/.test(await ui.textOf(tile)));
    }
    await ui.openPeople(people.Ada);
    await until('it is in the list', async () =>
      /hand raised/.test(await ui.textOf(ui.person(people.Ada, 'Ben'))),
    );
    await ui.press(people.Ben, 'Lower hand');
    await until(
      'Ben’s hand is down',
      async () => !/hand raised/.test(await ui.textOf(ui.tile(people.Ada, 'Ben'))),
    );
  });

  test('a reaction floats over the tile of whoever sent it', async () => {
    const floats = people.Ada.page.locator('.float', { hasText: '👏' });
    await people.Cleo.page.getByRole('button', { name: 'React', exact: true }).click();
    const over = await ui.tile(people.Ada, 'Cleo').boundingBox();
    // It is gone in a moment, so it is measured by the look that finds it.
    const floating = until('it floats', () =>
      floats.evaluateAll(([float]) => float && { x: float.getBoundingClientRect().x }),
    );
    const applause = people.Cleo.page.getByRole('button', { name: 'Applause' }).click();
    const [{ x }] = await Promise.all([floating, applause]);
    assert.ok(x > over.x && x < over.x + over.width, 'it floats elsewhere');
  });

  test('each key of the sheet does what is written there', async () => {
    const { page } = people.Ada;
    await ui.closePeople(people.Ada);
    const key = name => page.locator('body').press(name);
    const button = name => page.getByRole('button', { name, exact: true }).waitFor();
    for (const [name, on, off] of [
      ['m', 'Unmute', 'Mute'],
      ['v', 'Turn camera on', 'Turn camera off'],
      ['s', 'Stop sharing', 'Share screen'],
      ['h', 'Lower hand', 'Raise hand'],
    ]) {
      await key(name);
      await button(on);
      await key(name);
      await button(off);
    }
    for (const [name, panel] of [
      ['p', page.getByRole('complementary', { name: 'People' })],
      ['c', page.getByRole('log', { name: 'Messages' })],
      ['i', page.getByRole('region', { name: 'Connection details' })],
    ]) {
      await key(name);
      await panel.waitFor();
      // In the field of the chat a letter is a letter.
      if (name === 'c') await ui.press(people.Ada, 'Close chat');
      else await key(name);
      await panel.waitFor({ state: 'hidden' });
    }
    await key('?');
    const sheet = page.getByRole('dialog', { name: 'Keyboard shortcuts' });
    await sheet.waitFor();
    await page.keyboard.press('Escape');
    await sheet.waitFor({ state: 'hidden' });
    await ui.openPeople(people.Ada);
  });

  test('a host mutes somebody, who is told and can unmute', async () => {
    await ui.choose(people.Ada, 'Ben', 'Mute microphone');
    await until('Ben is muted for Cleo', () => ui.isMuted(ui.tile(people.Cleo, 'Ben')));
    await until('Ben’s page knows', () => ui.hasButton(people.Ben, 'Unmute'));
    await ui.unmute(people.Ben);
    await until('Ben is heard again', async () => !(await ui.isMuted(ui.tile(people.Cleo, 'Ben'))));
  });

  test('a host removes somebody, who is told why and stays out of a locked room', async () => {
    await people.Ada.page.getByText('Lock the room').click();
    await ui.choose(people.Ada, 'Cleo', 'Remove from the room');
    await people.Ada.page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await people.Cleo.page.getByText('You were removed from the room.').waitFor();
    await until('Cleo is gone', async () => (await ui.tile(people.Ben, 'Cleo').count()) === 0);
    await ui.tryToJoin(people.Cleo, server, 'talk', 'Cleo');
    await people.Cleo.page.getByText('The room is locked.').waitFor();
  });

  test('a host ends the meeting for everyone', async () => {
    await ui.press(people.Ada, 'End for everyone');
    await people.Ada.page.getByRole('dialog').getByRole('button', { name: 'End for everyone' }).click();
    for (const name of ['Ada', 'Ben']) {
      await people[name].page.getByText('The meeting was ended for everyone.').waitFor();
    }
  });
});

describe('a meeting that takes a token to join', { timeout: 60_000 }, () => {
  const key = randomBytes(32).toString('base64');
  let gathering;

  /** A link for somebody, with a token (RFC 7519) that grants so much. */
  function link(room, identity, grants) {
    const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');
    const exp = Math.floor(Date.now() / 1000) + 600;
    const signed = `${part({ alg: 'HS256' })}.${part({ exp, room, identity, grants })}`;
    const signature = createHmac('sha256', key).update(signed).digest('base64url');
    return `${room}#token=${signed}.${signature}`;
  }

  before(async () => {
    gathering = await Gathering.of(['Ada', 'Ben'], [`--key=${key}`]);
  });
  after(() => gathering?.end());

  test('its host is marked as one in the list of people, and nobody else is', async () => {
    const { people, server } = gathering;
    const guest = { publish: true, subscribe: true, data: true };
    await ui.join(people.Ada, server, link('board', 'ada', { ...guest, admin: true }), 'Ada');
    await ui.join(people.Ben, server, link('board', 'ben', guest), 'Ben');
    for (const name of ['Ada', 'Ben']) {
      const mark = whose => ui.person(people[name], whose).getByText('Host', { exact: true });
      await ui.openPeople(people[name]);
      await until(`${name} sees that Ada is the host`, async () => (await mark('Ada').count()) === 1);
      await ui.person(people[name], 'Ben').waitFor();
      assert.equal(await mark('Ben').count(), 0, `${name} sees that Ben is none`);
    }
    // What only a host may do is offered to nobody else.
    await people.Ada.page.getByText('Lock the room').waitFor();
    assert.equal(await people.Ben.page.getByText('Lock the room').isVisible(), false);
    for (const [name, whose, isOffered] of [
      ['Ada', 'Ben', true],
      ['Ben', 'Ada', false],
    ]) {
      const { page } = people[name];
      await ui.press(people[name], `More about ${whose}`);
      await page.getByRole('button', { name: `Write to ${whose}` }).waitFor();
      for (const item of ['Mute microphone', 'Remove from the room'])
        assert.equal((await page.getByRole('button', { name: item }).count()) === 1, isOffered, name);
      await page.keyboard.press('Escape');
      assert.equal(await page.getByRole('button', { name: 'End for everyone' }).isVisible(), isOffered, name);
    }
  });
});
