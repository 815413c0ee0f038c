// Real Chromium where only a TURN server can be reached, and the web client's own modules: coturn,
// set up as docs/operations.md says.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { until } from '../browser/lib/until.mjs';
import { path } from './lib/call.mjs';
import { meet, oneWay } from './lib/clients.mjs';
import { Browser, Server } from './lib/machines.mjs';
import { Network, SERVER } from './lib/network.mjs';
import { Relay } from './lib/relay.mjs';

/** Until there is a picture, whichever way it has to take. */
const FIRST_PICTURE_MS = 10_000;
const SECRET = '0123456789abcdef0123456789abcdef';
const RELAY = `turn:${SERVER}:3479?transport=tcp`;

describe('a browser that reaches media through a relay alone', { timeout: 240_000 }, () => {
  let network, relay, server, browser, page;

  before(async () => {
    network = await Network.start();
    relay = await Relay.start(network, SECRET);
    const turn = [`--turn=${RELAY}`, `--turn-secret=${SECRET}`];
    server = await Server.start(network, ['--tcp=off', ...turn]);
    browser = await Browser.start(network);
  });
  afterEach(async () => {
    await page?.context().close();
    await network.block();
  });
  after(async () => {
    await browser?.stop();
    const code = await server?.stop();
    await relay?.stop();
    await network?.stop();
    assert.equal(code, 0, server?.log);
    assert.ok(!/panicked/.test(server.log), server.log);
  });

  const way = name => page.evaluate(path, name);

  /** Waits for a moving picture, from before `begun`, and returns which way it goes. */
  async function watch(name, begun) {
    await until(
      'there is a picture',
      async () => (await way(name)).frames > 10,
      FIRST_PICTURE_MS - (performance.now() - begun),
    );
    const { kind, relay: relayed, port } = await way(name);
    return `${kind.replace('prflx', 'host')} ${relayed ?? '-'} ${port}`;
  }

  test('without UDP a publisher and a player meet by the relay', async () => {
    await network.block('meta l4proto udp');
    page = await browser.page(`https://${SERVER}/`);
    const begun = performance.now();
    await page.evaluate(oneWay, 'relayed');
    assert.equal(await watch('player', begun), 'relay tcp 3478', relay.log);
    assert.equal((await way('publisher')).kind, 'relay');
  });

  test('without UDP two in a room meet by the relay', async () => {
    await network.block('meta l4proto udp');
    page = await browser.page(`https://${SERVER}/`);
    const begun = performance.now();
    await page.evaluate(meet, 'relayed-room');
    assert.equal(await watch('bob', begun), 'relay tcp 3478', relay.log);
  });

  test('with UDP nobody asks the relay', async () => {
    const before = relay.allocations;
    assert.ok(before > 0, 'those without UDP did');
    page = await browser.page(`https://${SERVER}/`);
    await page.evaluate(oneWay, 'direct');
    assert.equal(await watch('player', performance.now()), 'host - 3478');
    assert.equal(relay.allocations, before);
  });

  test('credentials lead to the server alone, and not at all when changed', async () => {
    page = await browser.page(`https://${SERVER}/`);
    const { username, credential } = await page.evaluate(oneWay, 'shown');
    assert.match(username, /^\d{10}:shown\/[^/]+$/);
    const good = await relay.use({ username, credential, peer: SERVER });
    assert.match(good, /cb response received:\s+\d+: : success/);
    const other = await relay.use({ username, credential, peer: '127.0.0.1' });
    assert.match(other, /error 403/);
    const longer = username.replace(/^\d/, '9');
    const forged = await relay.use({ username: longer, credential, peer: SERVER });
    assert.match(forged, /allocate response received/);
    assert.doesNotMatch(forged, /success/);
  });
});
