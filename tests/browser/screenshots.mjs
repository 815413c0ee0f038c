// Pictures of the page on the running server, for the README and for looking at.
//
//   PLENUM_SERVER=target/debug/plenum node tests/browser/screenshots.mjs FOLDER [SCENE...]
//
// Scenes are `home`, `lobby`, `chat`, `people`, `settings`, `poor`, `broadcast`, `admin`, and numbers of
// people; all of them if none is named.

import { mkdir } from 'node:fs/promises';
import { join as path } from 'node:path';

import { Chromium } from './lib/chromium.mjs';
import { Crowd, NAMES, teachToDraw } from './lib/crowd.mjs';
import { Pages } from './lib/pages.mjs';
import { Server } from './lib/server.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

const SIZES = [
  ['desktop', 1280, 800],
  ['phone', 390, 844],
];

/** What the others send: the fewer they are, the larger they are shown. */
const pictureOf = others =>
  others === 1
    ? { width: 1280, height: 720, fps: 12 }
    : others < 9
      ? { width: 480, height: 270, fps: 8 }
      : { width: 320, height: 180, fps: 3 };

/** Shows a drawing instead of the camera; runs in the page. */
const beDrawn = who => {
  const { mediaDevices } = navigator;
  const real = mediaDevices.getUserMedia.bind(mediaDevices);
  // The names of made-up devices are those of no device.
  const list = mediaDevices.enumerateDevices.bind(mediaDevices);
  const names = { audioinput: 'Headset', videoinput: 'Built-in camera', audiooutput: 'Headset' };
  mediaDevices.enumerateDevices = async () =>
    (await list()).map(({ kind, deviceId, groupId }) => ({ kind, deviceId, groupId, label: names[kind] }));
  mediaDevices.getUserMedia = async wanted => {
    const stream = await real(wanted);
    if (!wanted.video) return stream;
    for (const track of stream.getVideoTracks()) stream.removeTrack(track);
    stream.addTrack(globalThis.portrait(who, { fps: 12 }).getVideoTracks()[0]);
    return stream;
  };
};

const [folder, ...wanted] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const server = await Server.start(['--max-load=1']);
const chromium = await Chromium.start();
const pages = await Pages.start();
const crowd = await Crowd.start(chromium, pages);

/** A page at every size, light and dark. */
async function shoot({ page }, name, fullPage = false) {
  for (const [size, width, height] of SIZES) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(1200);
      await page.screenshot({ path: path(folder, `${name}-${size}-${colorScheme}.png`), fullPage });
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

async function guest() {
  const person = await chromium.person();
  await teachToDraw(person.context);
  await person.context.addInitScript(beDrawn, 0);
  await person.page.setViewportSize({ width: 1280, height: 800 });
  return person;
}

/** Somebody in a room with so many people, oneself included. */
async function meeting(room, count, before = async () => {}) {
  await crowd.join(server, room, NAMES.slice(1, count), pictureOf(count - 1));
  const person = await guest();
  await before(person);
  await ui.join(person, server, room, NAMES[0]);
  await until('everyone is seen', async () => {
    return (await person.page.locator('.tile.has-picture').count()) === count;
  });
  // Away from the tiles, whose buttons show under the pointer.
  await person.page.mouse.move(640, 30);
  return person;
}

async function part(person) {
  await person.close();
  await crowd.leave();
}

const scenes = {
  async home() {
    const person = await guest();
    await person.open(`${server.url}/`);
    await shoot(person, 'home');
    await person.close();
  },
  async lobby() {
    const person = await guest();
    await person.open(`${server.url}/r/tea#passphrase=bergamot`);
    await person.page.getByRole('button', { name: 'Mute', exact: true }).waitFor();
    await person.page.getByLabel('Your name').fill('Ada');
    await ui.press(person, 'Check the connection');
    await person.page.mouse.move(640, 30);
    await shoot(person, 'lobby');
    await person.close();
  },
  async chat() {
    const person = await meeting('tea', 4);
    const other = await guest();
    await ui.join(other, server, 'tea', 'Edsger');
    await ui.openChat(person);
    await ui.openChat(other, /^Chat/);
    await ui.write(person, 'Good morning! The agenda: https://example.org/agenda');
    await ui.write(other, 'Thank you. Shall we begin with the second point?');
    await ui.write(person, 'Gladly 👍');
    await shoot(person, 'chat');
    await other.close();
    await part(person);
  },
  async people() {
    const person = await meeting('tea', 9);
    await ui.openPeople(person);
    await shoot(person, 'people');
    await part(person);
  },
  async poor() {
    const person = await meeting('tea', 4, person => person.suffer(4, 120));
    await person.page.keyboard.press('i');
    await person.page.waitForTimeout(6000);
    await shoot(person, 'poor');
    await part(person);
  },
  async settings() {
    const person = await meeting('tea', 4);
    await ui.press(person, 'More');
    await shoot(person, 'settings');
    await person.page.keyboard.press('Escape');
    await person.page.keyboard.press('?');
    await shoot(person, 'help');
    await part(person);
  },
  async broadcast() {
    const publisher = await guest();
    await publisher.open(`${server.url}/publish/stage?as=ada`);
    await until('the camera runs', () => ui.isMoving(publisher.page.getByRole('main')));
    await shoot(publisher, 'publish');
    await ui.press(publisher, 'Go live');
    await publisher.page.getByText('You are live').waitFor();
    await shoot(publisher, 'publish-live');
    const viewer = await guest();
    await viewer.open(`${server.url}/watch/stage/bob`);
    await viewer.page.getByText('bob is not live yet.').waitFor();
    await shoot(viewer, 'watch-nobody');
    await viewer.open(`${server.url}/watch/stage/ada`);
    await until('the picture moves', () => ui.isMoving(viewer.page.getByRole('main')));
    await shoot(viewer, 'watch');
    await viewer.close();
    await publisher.close();
  },
  async admin() {
    const person = await meeting('tea', 4);
    const operator = await guest();
    await operator.open(`${server.operatorUrl}/admin`);
    await operator.page.getByRole('link', { name: NAMES[0], exact: true }).waitFor();
    await shoot(operator, 'admin');
    await operator.page.getByRole('link', { name: NAMES[0], exact: true }).click();
    await operator.page.getByRole('heading', { name: 'Receives' }).waitFor();
    await operator.page.waitForTimeout(12_000);
    await shoot(operator, 'admin-session', true);
    // A machine that does not keep up, as the server tells of it.
    await operator.page.route('**/server', async route => {
      const told = await (await route.fetch()).json();
      for (const shard of told.shards) Object.assign(shard, { load_ratio: 0.97, video_share_ratio: 0.5 });
      await route.fulfill({ json: { ...told, refuses: 'load' } });
    });
    await operator.page.route('**/stats', async route => {
      const [told] = await (await route.fetch()).json();
      const state = 'it flows, smaller than wished: the server does not keep up';
      for (const slot of told.slots) if (slot.flows) slot.state = state;
      await route.fulfill({ json: [{ ...told, video_share_ratio: 0.5, loss_ratio: 0.07 }] });
    });
    await operator.page.waitForTimeout(2500);
    await shoot(operator, 'admin-busy', true);
    await operator.close();
    await part(person);
  },
};
for (const count of [1, 2, 9, 25]) {
  scenes[count] = async () => {
    const person = await meeting(`room-of-${count}`, count);
    await shoot(person, `${count}`);
    await part(person);
  };
}

for (const scene of wanted.length ? wanted : Object.keys(scenes)) await scenes[scene]();
await chromium.stop();
await pages.stop();
await server.stop();
