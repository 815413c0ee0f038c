// Real Chromium behind firewalls: which way media goes where not every way is open.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { until } from '../browser/lib/until.mjs';
import { Bystander } from './lib/bystander.mjs';
import { connect, path } from './lib/call.mjs';
import { Browser, Server } from './lib/machines.mjs';
import { Network, SERVER } from './lib/network.mjs';

/** Until there is a picture, whichever way it has to take. */
const FIRST_PICTURE_MS = 10_000;
/** How long a call is watched, and how much of it a picture may stand still where a bystander's does not. */
const LONG = Boolean(process.env.PLENUM_LONG);
const WATCHED_MS = LONG ? 300_000 : 5_000;
const LONGEST_FREEZE_S = 0.5;

describe('a browser behind a firewall', { timeout: 1_800_000 }, () => {
  let network, server, browser, bystander, page;

  before(async () => {
    network = await Network.start();
    server = await Server.start(network);
    browser = await Browser.start(network);
    if (LONG) bystander = await Bystander.start(network);
  });
  afterEach(async () => {
    await page?.context().close();
    await network.block();
  });
  after(async () => {
    await browser?.stop();
    await bystander?.stop();
    const code = await server?.stop();
    await network?.stop();
    assert.equal(code, 0, server?.log);
    assert.ok(!/panicked/.test(server.log), server.log);
  });

  const way = name => page.evaluate(path, name);

  /** Ada publishes, and watches herself. */
  async function join(room) {
    page = await browser.page(`https://${SERVER}/`);
    const begun = performance.now();
    await page.evaluate(connect, { name: 'ada', path: `/whip/${room}/ada`, publishes: true });
    await until('ada is connected', async () => (await way('ada')).state === 'connected', FIRST_PICTURE_MS);
    await page.evaluate(connect, { name: 'bob', path: `/whep/${room}/ada`, publishes: false });
    await until('there is a picture', async () => (await way('bob')).frames > 0, FIRST_PICTURE_MS);
    const waited = performance.now() - begun;
    assert.ok(waited < FIRST_PICTURE_MS, `the picture came after ${waited} ms`);
  }

  /** Looks that the picture moves on, and returns which way it goes. */
  async function watch() {
    const begun = await way('bob');
    for (let second = 0; second < WATCHED_MS / 1000; second += 1) {
      await bystander?.note((await way('bob')).frozenS);
      await sleep(1000);
    }
    const [sends, receives] = [await way('ada'), await way('bob')];
    const frozen = bystander?.frozenAlone() ?? receives.frozenS - begun.frozenS;
    assert.ok(frozen <= LONGEST_FREEZE_S, `the picture stood still for ${frozen} s`);
    assert.ok(receives.frames > begun.frames + (10 * WATCHED_MS) / 1000, `${receives.frames} frames`);
    assert.deepEqual([sends.protocol, sends.port], [receives.protocol, receives.port]);
    return `${receives.kind} ${receives.protocol} ${receives.port}`.replace('prflx', 'host');
  }

  test('with everything open media goes by UDP', async () => {
    await join('open');
    assert.equal(await watch(), 'host udp 3478');
  });

  test('without UDP media goes by TCP', async () => {
    await network.block('meta l4proto udp');
    await join('no-udp');
    assert.match(await watch(), /^host tcp (3478|443)$/);
  });

  test('with nothing but HTTPS open media goes by its port', async () => {
    await network.block('meta l4proto != tcp', 'tcp dport != 443');
    await join('https-alone');
    assert.equal(await watch(), 'host tcp 443');
  });
});
