// Nine people for five minutes: two in browsers, seven of the load tester. Browsers cannot decode
// what the load tester's people send (it only looks like video), so a freeze of a browser is looked
// for in the picture of the other browser, and the load tester looks for its own.
//
// Takes six minutes, so only PLENUM_LONG=1 runs it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Chromium } from './lib/chromium.mjs';
import { Server } from './lib/server.mjs';
import * as ui from './lib/ui.mjs';
import { until } from './lib/until.mjs';

const LOADTEST = process.env.PLENUM_LOADTEST ?? join(dirname(process.env.PLENUM_SERVER ?? ''), 'loadtest');
const SECONDS = 300;
/**
 * Where memory is measured from: a meeting as large has been before, for so long that the memories of
 * packets were full. What the allocator keeps of that is no leak.
 */
const WARM_UP_SECONDS = 20;
/** How far apart two readings of the same state lie: what the allocator keeps for the next ones. */
const ALLOCATOR_MIB = 8;
const LOADED = 7;
/** The room that the load tester fills first, by the pattern that it is given. */
const ROOM = 'nine0';

/** Runs the load tester's people, and tells what they saw. */
async function meetingOfLoadtest(server, people, seconds) {
  const child = spawn(
    LOADTEST,
    [
      'conference',
      ...['--url', `${server.url}/rooms/nine{n}/sessions`, '--rooms', '1', '--people', `${people}`],
      ...['--slots', '8', '--seconds', `${seconds}`, '--video-kbps', '500', '--fps', '15'],
      ...['--json', '--max-freezes', '0'],
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  let text = '';
  child.stdout.setEncoding('utf8').on('data', more => (text += more));
  const [code] = await once(child, 'exit');
  assert.equal(code, 0, text);
  return JSON.parse(text);
}

/** Whether every gauge of somebody or something in rooms is back at 0. */
async function isEmpty(server) {
  const now = await server.metrics();
  return now.sum(/^plenum_(sessions|rooms|tracks|subscriptions)(_connected)?$/) === 0;
}

async function heldMib(server) {
  const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
  // Anonymous memory: more of the program itself is resident the more of it has run.
  return Number(/RssAnon:\s+(\d+)/.exec(status)[1]) / 1024;
}

/**
 * Encoders, decoders and the server share this machine. A camera that fills a tile of nine leaves
 * processor time to spare, so that a freeze is not merely an encoder that was late.
 */
function smallCamera() {
  const { mediaDevices } = navigator;
  const ask = mediaDevices.getUserMedia.bind(mediaDevices);
  mediaDevices.getUserMedia = ({ video, ...rest }) =>
    ask({ ...rest, ...(video && { video: { width: 320, height: 180, frameRate: 20 } }) });
}

describe('nine people for five minutes', { skip: !process.env.PLENUM_LONG, timeout: 480_000 }, () => {
  let chromium, server;
  const people = {};

  before(async () => {
    chromium = await Chromium.start();
    server = await Server.start(['--log=warn']);
    for (const name of ['Ada', 'Ben']) {
      people[name] = await chromium.person();
      await people[name].context.addInitScript(smallCamera);
    }
  });
  after(async () => {
    await chromium?.stop();
    await server?.stop();
  });

  /** The one picture that a browser can decode: that of the other browser. */
  async function pictureOfOther(person) {
    const streams = await person.received('video');
    const [best] = streams.sort((a, b) => b.framesDecoded - a.framesDecoded);
    const { framesDecoded, freezeCount, totalFreezesDuration } = best;
    return { framesDecoded, freezeCount, totalFreezesDuration };
  }

  test('nobody sees a freeze, and afterwards nothing is left', async () => {
    await meetingOfLoadtest(server, LOADED + 2, WARM_UP_SECONDS);
    await until('nobody is there yet', () => isEmpty(server));
    const base = await heldMib(server);
    for (const name of Object.keys(people)) await ui.join(people[name], server, ROOM, name);
    const meeting = meetingOfLoadtest(server, LOADED, SECONDS);
    // All have come, and pictures that started are not counted as freezes.
    await until(
      'nine sessions',
      async () => (await server.metrics()).sum(/^plenum_sessions_connected$/) === 9,
    );
    await sleep(5000);
    const early = {};
    for (const name of Object.keys(people)) early[name] = await pictureOfOther(people[name]);
    const report = await meeting;
    for (const name of Object.keys(people)) {
      const late = await pictureOfOther(people[name]);
      assert.equal(late.freezeCount, early[name].freezeCount, `${name} saw freezes`);
      assert.ok(late.framesDecoded > early[name].framesDecoded + 10 * SECONDS, `${name}'s picture moves`);
    }
    assert.equal(report.totals.lost_packets, 0);
    for (const name of Object.keys(people)) await ui.leave(people[name]);
    await until('nobody is there any more', () => isEmpty(server));
    const left = await heldMib(server);
    assert.ok(left <= base + ALLOCATOR_MIB, `${base} MiB before, ${left} MiB after`);
  });
});
