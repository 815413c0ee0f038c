// Real Chromium whose network changes in the middle of a meeting: how long the picture stands still.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { until } from '../browser/lib/until.mjs';
import { path } from './lib/call.mjs';
import { longestGap, meet, oneWay, watchGaps } from './lib/clients.mjs';
import { Browser, Server } from './lib/machines.mjs';
import { Network, SERVER } from './lib/network.mjs';

/**
 * How long a picture may stand still when its way is gone. The goal is three seconds, and it takes about two; two
 * browsers and a server on two processors that others use, too, took 3.05 s once.
 */
const LONGEST_GAP_MS = 5000;
const FIRST_PICTURE_MS = 10_000;
/** Until the page has tried UDP again: two attempts, and what they take. */
const RETURN_MS = 45_000;
/** When the page tries to get away from a relay. */
const FIRST_RETURN_MS = 10_000;

/** A server, a browser that has joined, and what it sees. */
class Meeting {
  constructor(options) {
    this.options = options;
  }

  async start() {
    this.network = await Network.start();
    await this.network.addIpv6();
    this.server = await Server.start(this.network, this.options);
    this.browser = await Browser.start(this.network);
  }

  async leave() {
    await this.page?.context().close();
    this.page = undefined;
    await this.network.block();
  }

  async stop() {
    await this.browser?.stop();
    const code = await this.server?.stop();
    await this.network?.stop();
    assert.equal(code, 0, this.server?.log);
    assert.ok(!/panicked/.test(this.server.log), this.server.log);
  }

  way(name) {
    return this.page.evaluate(path, name);
  }

  async protocol(name) {
    return (await this.way(name)).protocol;
  }

  /** Joins, and waits for a picture that has moved for long enough to be missed. */
  async begin(join, room, viewer) {
    this.page = await this.browser.page(`https://${SERVER}/`);
    await this.page.evaluate(join, room);
    const moves = async () => (await this.way(viewer)).frames > 10;
    await until('there is a picture', moves, FIRST_PICTURE_MS);
    await this.page.evaluate(watchGaps, viewer);
    await sleep(6000);
    await this.page.evaluate(longestGap, viewer);
  }

  /** Waits until the picture moves again, and looks how long it stood. */
  async recover(viewer, label) {
    await sleep(LONGEST_GAP_MS + 1000);
    const { longestMs, currentMs, isSame } = await this.page.evaluate(longestGap, viewer);
    const gap = Math.max(longestMs, currentMs);
    console.log(`# ${label}: the picture stood for ${Math.round(gap)} ms`);
    assert.ok(gap <= LONGEST_GAP_MS, `the picture stood still for ${gap} ms`);
    assert.ok(isSame, 'nobody had to join again');
  }
}

describe('a meeting whose network changes', { timeout: 600_000 }, () => {
  const meeting = new Meeting(['--udp=[::]:3478']);
  before(() => meeting.start());
  afterEach(() => meeting.leave());
  after(() => meeting.stop());

  for (const [name, join, viewer] of [
    ['in a room', meet, 'bob'],
    ['with a publisher and a player', oneWay, 'player'],
  ]) {
    test(`UDP is blocked, and comes back, ${name}`, async () => {
      await meeting.begin(join, `blocked-${viewer}`, viewer);
      assert.equal(await meeting.protocol(viewer), 'udp');
      await meeting.network.drop('meta l4proto udp');
      await meeting.recover(viewer, 'UDP blocked');
      assert.equal(await meeting.protocol(viewer), 'tcp');
      await meeting.network.block();
      await until(
        'media goes by UDP again',
        async () => (await meeting.protocol(viewer)) === 'udp',
        RETURN_MS,
      );
      const { longestMs } = await meeting.page.evaluate(longestGap, viewer);
      assert.ok(longestMs < 1000, `the way back cost ${longestMs} ms`);
    });
  }

  test('IPv6 goes, and IPv4 stays', async () => {
    await meeting.begin(meet, 'family', 'bob');
    assert.equal((await meeting.way('bob')).family, 6);
    await meeting.network.drop('meta nfproto ipv6');
    await meeting.recover('bob', 'IPv6 gone');
    assert.equal((await meeting.way('bob')).family, 4);
  });

  test('one network goes and another one comes', async () => {
    await meeting.begin(meet, 'moved', 'bob');
    await meeting.network.move();
    await meeting.recover('bob', 'another network');
    assert.equal(await meeting.protocol('bob'), 'udp');
  });
});

describe('a meeting with a relay, whose network changes', { timeout: 240_000 }, () => {
  const meeting = new Meeting(['--tcp=off', `--turn-listen=${SERVER}:3479`]);
  before(() => meeting.start());
  after(() => meeting.stop());

  test('UDP is blocked, and the relay is what is left', async () => {
    await meeting.begin(meet, 'relay', 'bob');
    await meeting.network.drop('meta l4proto udp');
    await meeting.recover('bob', 'all but the relay blocked');
    assert.equal((await meeting.way('bob')).kind, 'relay');
    // The page tries to get away from the relay, in vain, and nobody notices.
    await sleep(FIRST_RETURN_MS + 10_000);
    const { longestMs, currentMs } = await meeting.page.evaluate(longestGap, 'bob');
    assert.ok(Math.max(longestMs, currentMs) < 1000, `the attempt cost ${longestMs} ms, ${currentMs} ms`);
  });
});
