// Pictures of a meeting on the running server, for the README and for looking at.
//
//   PLENUM_SERVER=target/debug/plenum node tests/browser/screenshots.mjs FOLDER [PEOPLE...]
//
// Each person's camera is a drawing of their own, so that one can tell them apart.

import { mkdir } from 'node:fs/promises';
import { join as path } from 'node:path';

import { Chromium } from './lib/chromium.mjs';
import { Server } from './lib/server.mjs';
import * as ui from './lib/ui.mjs';

const NAMES = (
  'Ada Grace Alan Barbara Edsger Radia Donald Frances Tim Hedy Claude Margaret John Katherine Dennis ' +
  'Sophie Niklaus Jean Ken Adele Vint Karen Bjarne Evelyn Linus'
).split(' ');
/** Of a crowd each camera gives one picture in a second: the machine has to encode them all. */
const CROWD = 9;

/** Replaces the camera by a drawing; runs in the page. */
const draw = ({ hue, fps }) => {
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async wanted => {
    const stream = await real(wanted);
    if (!wanted.video) return stream;
    const canvas = Object.assign(document.createElement('canvas'), { width: 1280, height: 720 });
    const pen = canvas.getContext('2d');
    const paint = () => {
      const sway = Math.sin(performance.now() / 900) * 20;
      const wall = pen.createLinearGradient(0, 0, 1280, 720);
      wall.addColorStop(0, `hsl(${hue} 35% 78%)`);
      wall.addColorStop(1, `hsl(${hue + 40} 30% 55%)`);
      pen.fillStyle = wall;
      pen.fillRect(0, 0, 1280, 720);
      pen.fillStyle = `hsl(${hue + 180} 25% 32%)`;
      pen.beginPath();
      pen.ellipse(640 + sway, 760, 330, 300, 0, 0, 7);
      pen.fill();
      pen.fillStyle = `hsl(${25 + (hue % 12)} 42% ${48 + (hue % 30)}%)`;
      pen.beginPath();
      pen.ellipse(640 + sway * 1.4, 330, 125, 160, 0, 0, 7);
      pen.fill();
    };
    setInterval(paint, 1000 / fps);
    paint();
    for (const track of stream.getVideoTracks()) stream.removeTrack(track);
    stream.addTrack(canvas.captureStream(fps).getVideoTracks()[0]);
    return stream;
  };
};

const SIZES = [
  ['desktop', 1280, 800],
  ['phone', 390, 844],
];

const [folder, ...counts] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const server = await Server.start();
const chromium = await Chromium.start();

/** A page at every size, light and dark. */
async function shoot({ page }, name) {
  for (const [size, width, height] of SIZES) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(1000);
      await page.screenshot({ path: path(folder, `${name}-${size}-${colorScheme}.png`) });
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

async function artist(index, fps) {
  const person = await chromium.person();
  await person.context.addInitScript(draw, { hue: (index * 47) % 360, fps });
  await person.page.setViewportSize({ width: 1280, height: 800 });
  return person;
}

for (const count of counts.length ? counts.map(Number) : [1, 2, 9, 25]) {
  const room = `tea-${count}`;
  const people = [];
  for (let i = 0; i < count; i += 1) {
    const person = await artist(i, count > CROWD ? 1 : 20);
    await ui.join(person, server, room, NAMES[i % NAMES.length]);
    people.push(person);
  }
  const [first] = people;
  await first.page.waitForTimeout(5000);
  await first.page.mouse.move(640, 30);
  await shoot(first, `${count}`);
  if (count === 2) {
    await ui.openChat(first);
    await ui.openChat(people[1], /^Chat/);
    await ui.write(first, 'Good morning! The agenda: https://example.org/agenda');
    await ui.write(people[1], 'Thank you. Shall we begin with the second point?');
    await ui.write(first, 'Gladly 👍');
    await shoot(first, 'chat');
  }
  await Promise.all(people.map(person => person.close()));
}

const guest = await artist(3, 20);
await guest.open(`${server.url}/`);
await shoot(guest, 'home');
await guest.open(`${server.url}/r/tea#passphrase=bergamot`);
await guest.page.getByRole('button', { name: 'Mute', exact: true }).waitFor();
await guest.page.getByLabel('Your name').fill('Grace');
await guest.page.getByRole('button', { name: 'Check the connection' }).click();
await shoot(guest, 'lobby');

await chromium.stop();
await server.stop();
