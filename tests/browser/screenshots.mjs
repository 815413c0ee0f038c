// Pictures of a meeting on the running server, for the README and for looking at.
//
//   PLENUM_SERVER=target/debug/plenum node tests/browser/screenshots.mjs FOLDER [PEOPLE...]
//
// Each person's camera is a drawing of their own, so that one can tell them apart.

import { mkdir } from 'node:fs/promises';
import { join as path } from 'node:path';

import { Chromium } from './lib/chromium.mjs';
import { Server } from './lib/server.mjs';
import { join } from './lib/ui.mjs';

const NAMES = ['Ada', 'Grace', 'Alan', 'Barbara', 'Edsger', 'Radia', 'Donald', 'Frances', 'Tim'];

/** Replaces the camera by a drawing; runs in the page. */
const draw = hue => {
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
    setInterval(paint, 50);
    paint();
    for (const track of stream.getVideoTracks()) stream.removeTrack(track);
    stream.addTrack(canvas.captureStream(20).getVideoTracks()[0]);
    return stream;
  };
};

const [folder, ...counts] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const server = await Server.start();
const chromium = await Chromium.start();
for (const count of counts.length ? counts.map(Number) : [1, 2, 9]) {
  const people = [];
  for (let i = 0; i < count; i += 1) {
    const person = await chromium.person();
    await person.context.addInitScript(draw, (i * 47) % 360);
    await person.page.setViewportSize({ width: 1280, height: 800 });
    await join(person, server, `tea-${count}`, NAMES[i % NAMES.length]);
    people.push(person);
  }
  const [{ page }] = people;
  await page.waitForTimeout(5000);
  await page.mouse.move(640, 30);
  for (const [name, width, height] of [
    ['desktop', 1280, 800],
    ['phone', 390, 844],
  ]) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(1000);
      await page.screenshot({ path: path(folder, `${count}-${name}-${colorScheme}.png`) });
    }
  }
  await Promise.all(people.map(person => person.close()));
}
await chromium.stop();
await server.stop();
