// Strangers send what they like, while others are in a call: the call goes on, nothing is
// answered that would make the port an amplifier, and every bit of it is counted.

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Chromium } from './lib/chromium.mjs';
import { offer, post, publisherOffer } from './lib/offer.mjs';
import { Pages } from './lib/pages.mjs';
import { Server } from './lib/server.mjs';
import { bindingRequest, clientHello, randomBytes, rtpPacket } from './lib/stun.mjs';
import { until } from './lib/until.mjs';

/** Enough to tell a counter from chance, few enough to fit any receive buffer. */
const DATAGRAMS = 100;
/** Larger than any body that the server takes, as somebody would send to fill its memory. */
const HUGE_BYTES = 10 * 1024 * 1024;

describe('strangers during a call', { timeout: 120_000 }, () => {
  let chromium, pages, server, ada, bob, session;

  before(async () => {
    chromium = await Chromium.start();
    pages = await Pages.start();
    server = await Server.start();
    [ada, bob] = await Promise.all([chromium.person(), chromium.person()]);
    for (const person of [ada, bob]) {
      await person.open(`${pages.url}/lab.html`);
      await person.page.waitForFunction(() => globalThis.lab);
    }
    await ada.page.evaluate(url => lab.publish(url), `${server.url}/whip/call/ada`);
    ({ session } = await bob.page.evaluate(url => lab.watch(url), `${server.url}/whep/call/ada`));
  });
  after(async () => {
    await Promise.all([chromium?.stop(), pages?.stop()]);
    const end = await server?.stop();
    assert.equal(end?.code, 0, server?.lastWords);
    assert.ok(!/panicked/.test(server?.log), server?.lastWords);
  });

  const video = async () => (await bob.page.evaluate(id => lab.received(id), session)).video;

  /** Does something to the server, and looks that the call does not care. */
  async function theCallGoesOnDuring(attack) {
    const before = await video();
    await attack();
    await until(
      'the picture moves on',
      async () => (await video()).framesDecoded > before.framesDecoded + 30,
    );
    const now = await video();
    assert.equal(now.packetsLost, before.packetsLost, 'packets were lost');
    assert.equal((await server.metrics()).sum(/panics/), 0);
  }

  /** Sends datagrams from one new address, waits for so many answers, and collects what comes back. */
  async function answersTo(port, datagrams, expected = 0) {
    const socket = createSocket('udp4');
    const answers = [];
    socket.on('message', answer => answers.push(answer.toString('hex')));
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    for (const datagram of datagrams) {
      socket.send(datagram);
      // In small steps, so that the kernel's buffer, which is not under test, loses none.
      await sleep(1);
    }
    await until(`${expected} are answered`, () => answers.length >= expected).catch(() => {});
    // What else would be answered is answered within a millisecond here.
    await sleep(300);
    socket.close();
    return answers;
  }

  /** Throws and looks that all of it was counted as dropped for one of the reasons. */
  async function isDropped(datagrams, reasons) {
    const dropped = async () => {
      const metrics = await server.metrics();
      return reasons.reduce((sum, reason) => sum + metrics.dropped(reason), 0);
    };
    const before = await dropped();
    await theCallGoesOnDuring(async () => {
      assert.deepEqual(await answersTo(server.ports.udp, datagrams), [], 'a stranger was answered');
    });
    await until(
      `${datagrams.length} drops are counted as ${reasons}`,
      async () => {
        return (await dropped()) >= before + datagrams.length;
      },
      5000,
    );
  }

  const many = make => Array.from({ length: DATAGRAMS }, (_, n) => make(n + 1));

  test('random bytes', () =>
    isDropped(
      many(seed => randomBytes(seed * 2654435761, 1 + ((seed * 37) % 1200))),
      ['unrecognized', 'unknown_address', 'malformed_stun', 'unknown_ufrag'],
    ));

  test('empty datagrams', () =>
    isDropped(
      many(() => Buffer.alloc(0)),
      ['empty'],
    ));

  test('a ClientHello from an address that never passed a check', () =>
    isDropped(many(clientHello), ['unknown_address']));

  test('media from an address that never passed a check', () =>
    isDropped(
      many(ssrc => rtpPacket(ssrc)),
      ['unknown_address'],
    ));

  test('checks for a user fragment that was never given out', () =>
    isDropped(
      many(n => bindingRequest(`nobody${n}:peer`, 'secret-of-nobody')),
      ['unknown_ufrag', 'unknown_session'],
    ));

  test('checks of a real session with a wrong password', async () => {
    const opened = await post(`${server.url}/whip/victim/eve`, publisherOffer());
    const answer = await opened.text();
    assert.equal(opened.status, 201, answer);
    const [, ufrag] = /a=ice-ufrag:(\S+)/.exec(answer);
    const [, password] = /a=ice-pwd:(\S+)/.exec(answer);
    await isDropped(
      many(() => bindingRequest(`${ufrag}:4ZcD`, 'not-the-password-at-all')),
      ['stun_integrity'],
    );
    // The password is all that was wrong with them.
    const check = bindingRequest(`${ufrag}:4ZcD`, password);
    assert.equal((await answersTo(server.ports.udp, [check], 1)).length, 1, 'a genuine check is answered');
    const ended = await fetch(server.url + opened.headers.get('Location'), { method: 'DELETE' });
    assert.equal(ended.status, 200);
  });

  /** How many requests were answered with this status. */
  const answered = async status =>
    (await server.metrics()).sum(/^plenum_http_requests_total$/, { status: String(status) });

  test('a body of ten megabytes is refused, and not read', () =>
    theCallGoesOnDuring(async () => {
      const before = await answered(413);
      // The connection is closed while the body is still being written: whether that or the
      // answer is seen first is up to the two machines.
      const status = await new Promise(resolve => {
        const headers = { 'Content-Type': 'application/sdp', 'Content-Length': HUGE_BYTES };
        const sending = request(`${server.url}/whip/huge/eve`, { method: 'POST', headers }, response => {
          resolve(response.statusCode);
          sending.destroy();
        });
        sending.on('error', ({ code }) => resolve(code));
        sending.end(Buffer.alloc(HUGE_BYTES, 'v'));
      });
      assert.ok([413, 'EPIPE', 'ECONNRESET'].includes(status), `ended with ${status}`);
      await until('it is counted', async () => (await answered(413)) === before + 1);
    }));

  const MALFORMED = {
    'nothing at all': '',
    'not SDP': 'hello',
    'a version from the future': publisherOffer().replace('v=0', 'v=1'),
    'a zero byte': publisherOffer().replace('s=-', 's=\0'),
    'one endless line': `v=0\r\ns=${'x'.repeat(60_000)}\r\n`,
    'no m-line': offer([]),
    'bytes that are not UTF-8': randomBytes(1, 500),
  };
  for (const [what, body] of Object.entries(MALFORMED)) {
    test(`an offer with ${what} is answered with a problem document`, () =>
      theCallGoesOnDuring(async () => {
        const response = await post(`${server.url}/whip/malformed/eve`, body);
        assert.ok([400, 422].includes(response.status), `answered ${response.status}`);
        assert.match(response.headers.get('Content-Type'), /^application\/problem\+json/);
        assert.equal((await response.json()).status, response.status);
        assert.equal(response.headers.get('Access-Control-Allow-Origin'), '*');
      }));
  }

  test('an offer that stops in the middle opens no session or one that can be ended', async () => {
    const lines = publisherOffer().split('\r\n');
    for (let kept = 0; kept < lines.length; kept += 1) {
      const response = await post(`${server.url}/whip/cut/eve`, lines.slice(0, kept).join('\r\n'));
      assert.ok([201, 400, 422].includes(response.status), `${kept} lines: ${response.status}`);
      if (response.status === 201) {
        const ended = await fetch(server.url + response.headers.get('Location'), { method: 'DELETE' });
        assert.equal(ended.status, 200);
      }
    }
  });
});
