// A room whose people share a passphrase that the server never sees.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Gathering } from './lib/gathering.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

const NAMES = ['Ada', 'Ben', 'Cleo'];
const LINK = '#passphrase=correct+horse+%26+battery';

// One story in the order of these tests: each begins where the one before ended.
describe('an end-to-end encrypted room', { timeout: 120_000 }, () => {
  let gathering, people, server;

  before(async () => {
    gathering = await Gathering.of(NAMES);
    ({ people, server } = gathering);
  });
  after(() => gathering?.end());

  const sealed = (who, of) => ui.tile(people[who], of).getByText('Cannot be decrypted', { exact: false });

  test('those with the passphrase see and hear each other, and the page says that it is encrypted', async () => {
    for (const name of ['Ada', 'Ben']) await ui.join(people[name], server, `sealed${LINK}`, name);
    for (const [name, other] of [
      ['Ada', 'Ben'],
      ['Ben', 'Ada'],
    ]) {
      await until(`${name} sees ${other}`, () => ui.isMoving(ui.tile(people[name], other)));
      await until(`${name} hears ${other}`, async () =>
        (await people[name].received('audio')).some(({ totalAudioEnergy }) => totalAudioEnergy > 1e-6),
      );
      await until(`${name} is told`, () => ui.hasButton(people[name], 'End-to-end encrypted'));
      assert.equal(await sealed(name, other).count(), 1);
      await until('nothing is said to be sealed', () => sealed(name, other).isHidden());
    }
    assert.ok(!server.log.includes('battery'), 'the passphrase reached the server');
  });

  test('with another passphrase packets come, and not one of them is played', async () => {
    await ui.join(people.Cleo, server, 'sealed#passphrase=another', 'Cleo');
    await until('Cleo is told why', () => sealed('Cleo', 'Ada').isVisible());
    await until('Cleo receives plenty', async () =>
      (await people.Cleo.received('video')).some(({ bytesReceived }) => bytesReceived > 50_000),
    );
    for (const { framesDecoded } of await people.Cleo.received('video')) assert.equal(framesDecoded, 0);
    for (const { totalAudioEnergy } of await people.Cleo.received('audio')) {
      assert.ok(totalAudioEnergy < 1e-6, 'Cleo hears something');
    }
    await until('Ada is told that Cleo has another', () => sealed('Ada', 'Cleo').isVisible());
    await until('Ada still sees Ben', () => ui.isMoving(ui.tile(people.Ada, 'Ben')));
  });

  test('without a passphrase the page says that one is needed, and plays nothing', async () => {
    await ui.leave(people.Cleo);
    await people.Cleo.page.goto('about:blank');
    await ui.join(people.Cleo, server, 'sealed', 'Cleo');
    await people.Cleo.page.getByText('Ask for the link with the passphrase').waitFor();
    await until('it shows on the tile', () => sealed('Cleo', 'Ada').isVisible());
    // The first packets may be there before the page says that it wants none; they show nothing.
    const decoded = (await people.Cleo.received('video')).map(stream => stream.framesDecoded);
    assert.ok(
      decoded.every(frames => frames === 0),
      `${decoded} frames were decoded`,
    );
    assert.equal(await ui.hasButton(people.Cleo, 'End-to-end encrypted'), false);
  });

  test('a copied invitation brings the passphrase along', async () => {
    const { page, context } = people.Ada;
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'Copy invite link' }).first().click();
    const link = await until('something is copied', () =>
      page.evaluate(() => navigator.clipboard.readText()),
    );
    assert.equal(link, `${server.url}/r/sealed${LINK}`);
  });
});
