// The relay that is part of the server: real Chromium, and coturn's client and peer.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { until } from '../browser/lib/until.mjs';
import { Bystander } from './lib/bystander.mjs';
import { path } from './lib/call.mjs';
import { meet, oneWay, tryWays } from './lib/clients.mjs';
import { Browser, Server } from './lib/machines.mjs';
import { Network, SERVER } from './lib/network.mjs';
import { startPeer, uclient } from './lib/turnutils.mjs';

const exec = promisify(execFile);

/** Until there is a picture, whichever way it has to take. */
const FIRST_PICTURE_MS = 10_000;
/** How long a call is watched, and how much of it a picture may stand still where a bystander's does not. */
const LONG = Boolean(process.env.PLENUM_LONG);
const WATCHED_MS = LONG ? 300_000 : 2_000;
const LONGEST_FREEZE_S = 0.5;
const TURN = [`--turn-listen=${SERVER}:3479`, `--turn-tls-listen=${SERVER}:5349`];
/** An address that passes for one of the Internet. */
const PEER = '11.0.0.2';

/** What the relay has counted. */
async function counted(network, name) {
  const command = network.on('server', ['curl', '--silent', 'http://127.0.0.1:9080/metrics']);
  const { stdout } = await exec(command[0], command.slice(1));
  const line = stdout.split('\n').find(line => line.startsWith(`${name} `));
  return Number(line.split(' ')[1]);
}

describe('a browser that reaches media through the relay of the server', { timeout: 1_800_000 }, () => {
  let network, server, browser, bystander, page;

  before(async () => {
    network = await Network.start();
    server = await Server.start(network, ['--tcp=off', ...TURN]);
    browser = await Browser.start(network);
    if (LONG) bystander = await Bystander.start(network);
  });
  afterEach(async () => {
    await page?.context().close();
    page = undefined;
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

  /** Waits for a moving picture, from before `begun`, looks that it stays so, and returns which way it goes. */
  async function watch(name, begun) {
    const left = FIRST_PICTURE_MS - (performance.now() - begun);
    await until('there is a picture', async () => (await way(name)).frames > 10, left);
    const before = await way(name);
    for (let second = 0; second < WATCHED_MS / 1000; second += 1) {
      await bystander?.note((await way(name)).frozenS);
      await sleep(1000);
    }
    const { kind, relay, port, frames, frozenS } = await way(name);
    const frozen = bystander?.frozenAlone() ?? frozenS - before.frozenS;
    assert.ok(frozen <= LONGEST_FREEZE_S, `the picture stood still for ${frozen} s`);
    assert.ok(frames > before.frames + (10 * WATCHED_MS) / 1000, `${frames - before.frames} frames`);
    return `${kind.replace('prflx', 'host')} ${relay ?? '-'} ${port}`;
  }

  for (const [name, rules, relay] of [
    ['no UDP port but the one of the relay', ['udp dport != 3479'], 'udp'],
    ['TCP alone', ['meta l4proto udp'], 'tcp'],
    ['nothing but HTTPS', ['meta l4proto != tcp', 'tcp dport != 443'], 'tls'],
  ]) {
    test(`with ${name} a publisher and a player meet by TURN over ${relay}`, async () => {
      await network.block(...rules);
      page = await browser.page(`https://${SERVER}/`);
      const begun = performance.now();
      await page.evaluate(oneWay, `relayed-${relay}`);
      assert.equal(await watch('player', begun), `relay ${relay} 3478`);
      assert.equal((await way('publisher')).relay, relay);
    });
  }

  test('with nothing but HTTPS two in a room meet', async () => {
    await network.block('meta l4proto != tcp', 'tcp dport != 443');
    page = await browser.page(`https://${SERVER}/`);
    const begun = performance.now();
    await page.evaluate(meet, 'relayed-room');
    assert.equal(await watch('bob', begun), 'relay tls 3478');
  });

  test('with UDP nobody asks the relay', async () => {
    const udp = 'plenum_turn_allocations_total{transport="udp"}';
    const before = await counted(network, udp);
    page = await browser.page(`https://${SERVER}/`);
    await page.evaluate(oneWay, 'direct');
    assert.equal(await watch('player', performance.now()), 'host - 3478');
    assert.equal(await counted(network, udp), before);
  });

  test('the page tells which ways work from here', async () => {
    page = await browser.page(`https://${SERVER}/`);
    assert.deepEqual(await page.evaluate(tryWays), ['udp', 'turn-udp', 'turn-tcp', 'turn-tls']);
    await network.block('meta l4proto udp');
    assert.deepEqual(await page.evaluate(tryWays), ['turn-tcp', 'turn-tls']);
  });

  test('credentials lead to media alone, and nowhere once the session has ended', async () => {
    page = await browser.page(`https://${SERVER}/`);
    const credentials = await page.evaluate(oneWay, 'shown');
    for (const peer of ['127.0.0.1', '169.254.169.254', '10.0.0.1', '0.0.0.0', PEER]) {
      const denied = await uclient(network, { ...credentials, port: 3479, peer });
      assert.match(denied, /error 403/, peer);
    }
    const ports = await uclient(network, { ...credentials, port: 3479, peer: SERVER });
    assert.match(ports, /error 403/, "another port of the server's");
    const tcp = await uclient(network, { ...credentials, port: 3479, peer: SERVER, options: ['-T'] });
    assert.match(tcp, /error 442/);
    await page.context().close();
    page = undefined;
    const gone = async () => (await counted(network, 'plenum_sessions')) === 0;
    await until('the session has ended', gone, 40_000);
    const over = await uclient(network, { ...credentials, port: 3479, peer: SERVER });
    assert.match(over, /Cannot complete Allocation|error 401/);
    const none = async () => (await counted(network, 'plenum_turn_allocations')) === 0;
    await until('nothing is relayed any more', none, 5_000);
  });
});

describe('a browser that reaches the relay by IPv6 alone', { timeout: 120_000 }, () => {
  let network, server, browser;

  before(async () => {
    network = await Network.start();
    await network.addIpv6();
    server = await Server.start(network, ['--tcp=off', '--udp=[::]:3478', '--turn-listen=[::]:3479']);
    browser = await Browser.start(network);
  });
  after(async () => {
    await browser?.stop();
    const code = await server?.stop();
    await network?.stop();
    assert.equal(code, 0, server?.log);
  });

  test('media goes through it, by UDP', async () => {
    const rules = ['udp dport 3478', 'meta nfproto ipv4 meta l4proto udp', 'tcp dport 3479'];
    await network.drop(rules.join(' drop\n'));
    const page = await browser.page(`https://${SERVER}/`);
    const begun = performance.now();
    await page.evaluate(oneWay, 'six');
    const way = () => page.evaluate(path, 'player');
    const left = FIRST_PICTURE_MS - (performance.now() - begun);
    await until('there is a picture', async () => (await way()).frames > 10, left);
    const { kind, relay } = await way();
    // By IPv4 no datagram gets through.
    assert.equal(`${kind} ${relay}`, 'relay udp');
    const relayed = () => counted(network, 'plenum_turn_datagrams_total{direction="in"}');
    await until('the relay counts it', async () => (await relayed()) > 100);
  });
});

describe("coturn's client and peer, at a relay that is open to peers", { timeout: 240_000 }, () => {
  let network, server, browser, page, peer, credentials;

  before(async () => {
    network = await Network.start();
    await network.also('client', PEER);
    server = await Server.start(network, ['--turn-peers', ...TURN]);
    peer = await startPeer(network, PEER);
    browser = await Browser.start(network);
    page = await browser.page(`https://${SERVER}/`);
    credentials = await page.evaluate(oneWay, 'guests');
  });
  after(async () => {
    peer?.kill('SIGKILL');
    await browser?.stop();
    const code = await server?.stop();
    await network?.stop();
    assert.equal(code, 0, server?.log);
  });

  for (const [name, port, options] of [
    ['UDP', 3479, []],
    ['UDP without channels', 3479, ['-s']],
    ['TCP', 3479, ['-t']],
    ['TLS', 5349, ['-t', '-S']],
    ["TLS on HTTPS' port", 443, ['-t', '-S']],
  ]) {
    test(`messages come back over ${name}`, async () => {
      const said = await uclient(network, { ...credentials, port, options, peer: PEER });
      assert.match(said, /tot_send_msgs=20, tot_recv_msgs=20/, said);
      assert.match(said, /Total lost packets 0 /, said);
    });
  }

  test('two clients of the relay reach each other', async () => {
    const said = await uclient(network, { ...credentials, port: 3479 });
    assert.match(said, /Total lost packets 0 /, said);
  });

  test('what is special stays out of reach', async () => {
    for (const special of ['127.0.0.1', '169.254.169.254', '192.168.0.1', '224.0.0.1', SERVER]) {
      const denied = await uclient(network, { ...credentials, port: 3479, peer: special });
      assert.match(denied, /error 403/, special);
    }
  });
});
