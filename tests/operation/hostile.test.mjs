// Floods from strangers, over HTTP, HTTP/2 and UDP, while a call goes on: it loses nothing, memory stays
// bounded, and whoever floods is turned away. Seconds each; with PLENUM_LONG=1 a minute and more of each.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';

import { publisherOffer } from '../browser/lib/offer.mjs';
import { freeTcpPort, freeUdpPort } from '../browser/lib/ports.mjs';
import { Server } from '../browser/lib/server.mjs';
import { bindingRequest } from '../browser/lib/stun.mjs';
import { until } from '../browser/lib/until.mjs';

const LOADTEST =
  process.env.PLENUM_LOADTEST ?? fileURLToPath(new URL('../../target/debug/loadtest', import.meta.url));
const LONG = Boolean(process.env.PLENUM_LONG);

/** How long each flood lasts. */
const FLOOD_MS = LONG ? 60_000 : 2_000;
/** Connections that a slow client opens; the default limit of the server is 8192. */
const SLOW_CONNECTIONS = LONG ? 4_000 : 400;
/** What a flood may cost, whatever it is: queues and connections are bounded. */
const MAX_GROWTH_KB = 50 * 1024;

describe('a call goes on, and memory stays bounded,', { timeout: LONG ? 1_800_000 : 180_000 }, () => {
  let folder, server, call, port;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'plenum-hostile-'));
    const file = name => join(folder, name);
    const key = [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-keyout',
      file('key.pem'),
    ];
    const name = ['-subj', '/CN=plenum', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const kind = ['-addext', 'basicConstraints=critical,CA:FALSE', '-days', '2'];
    execFileSync('openssl', ['req', '-x509', ...key, '-out', file('cert.pem'), ...name, ...kind], {
      stdio: 'ignore',
    });
    const ports = { http: await freeTcpPort(), operator: await freeTcpPort(), udp: await freeUdpPort() };
    port = ports.http;
    server = new Server(ports, [`--tls-cert=${file('cert.pem')}`, `--tls-key=${file('key.pem')}`]);
    await server.run();
    // Whoever calls trusts the certificate, and loses nothing or fails.
    const seconds = LONG ? 3600 : 600;
    call = spawn(
      LOADTEST,
      ['broadcast', '--url', `https://127.0.0.1:${port}`, '--subscribers', '3', '--seconds', String(seconds)],
      { stdio: 'ignore', env: { ...process.env, SSL_CERT_FILE: file('cert.pem') } },
    );
    await until('four are connected', async () => (await sum(/^plenum_sessions_connected$/)) === 4);
  });
  after(async () => {
    call?.kill('SIGKILL');
    const end = await server?.stop();
    rmSync(folder, { recursive: true });
    assert.equal(end?.code, 0, server?.lastWords);
  });

  const sum = async (name, labels) => (await server.metrics()).sum(name, labels);
  const residentKb = async () =>
    Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${server.pid}/status`, 'utf8'))[1]);
  const sent = () => sum(/^plenum_packets_total$/, { direction: 'out' });
  const lost = () => sum(/^plenum_(drops|udp_drops)_total$/, { reason: 'receive_buffer_full' });

  /** Does it, and looks that the call flows on while it is done and afterwards. */
  async function during(context, attack) {
    const memory = await residentKb();
    const before = await server.metrics();
    const packets = await sent();
    let busy = true;
    const attacking = attack().finally(() => {
      busy = false;
    });
    let flowed = 0;
    while (busy) {
      await sleep(250);
      flowed = await sent();
    }
    await attacking;
    assert.ok(flowed > packets, 'nothing was forwarded meanwhile');
    await until('media flows afterwards', async () => (await sent()) > flowed + 100);
    assert.equal(call.exitCode, null, 'the callers have gone');
    assert.equal(await sum(/^plenum_panics_total$/), 0);
    assert.equal(await sum(/^plenum_sessions_connected$/), 4, 'somebody was thrown out');
    const grown = (await residentKb()) - memory;
    assert.ok(grown < MAX_GROWTH_KB, `${grown} KiB more`);
    const now = await server.metrics();
    const count = metrics => metrics.sum(/^plenum_forward_delay_seconds_count$/);
    const within = (metrics, le) => metrics.sum(/^plenum_forward_delay_seconds_bucket$/, { le });
    const share = le => (within(now, le) - within(before, le)) / (count(now) - count(before));
    context.diagnostic(
      `${grown} KiB more; ${(100 * share('0.005')).toFixed(2)} % of the packets left within 5 ms; ${await lost()} lost to full buffers`,
    );
  }

  const untilThen = async step => {
    const end = performance.now() + FLOOD_MS;
    while (performance.now() < end) await step();
  };
  const tls = options =>
    new Promise((resolve, reject) => {
      const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options }, () =>
        resolve(socket),
      );
      socket.once('error', reject);
    });

  test('as when nobody attacks, which is what the rest is measured by', context =>
    during(context, () => sleep(FLOOD_MS)));

  test('while hundreds of connections send a head that never ends', context =>
    during(context, async () => {
      const sockets = Array.from({ length: SLOW_CONNECTIONS }, () =>
        connect(port, '127.0.0.1').on('error', () => {}),
      );
      // Some say nothing, some begin a handshake and go no further.
      for (const [n, socket] of sockets.entries()) if (n % 2) socket.write(Buffer.from([22, 3, 1]));
      await sleep(FLOOD_MS);
      assert.equal((await fetch(`${server.operatorUrl}/readyz`)).status, 200);
      const other = await tls({});
      other.write('GET /whip/demo HTTP/1.1\r\nHost: plenum\r\n\r\n');
      const [answer] = await once(other, 'data');
      assert.match(String(answer), /^HTTP\/1.1 204/, 'others are served all the same');
      other.destroy();
      for (const socket of sockets) socket.destroy();
    }));

  const frame = (type, flags, stream, payload = Buffer.alloc(0)) => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  };
  const [DATA, HEADERS, RST_STREAM, SETTINGS, CONTINUATION] = [0, 1, 3, 4, 9];
  const [END_STREAM, END_HEADERS] = [1, 4];
  const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(SETTINGS, 0, 0)]);
  // POST https://x/whip/demo, from the static table (RFC 7541, Appendix A) and a literal path.
  const HEAD = Buffer.from([
    0x83,
    0x87,
    0x04,
    10,
    ...Buffer.from('/whip/demo'),
    0x01,
    1,
    ...Buffer.from('x'),
  ]);

  /** Writes what `make` gives to an HTTP/2 connection, until the server ends it, or for as long as it takes. */
  async function writeOn(first, make) {
    const socket = await tls({ ALPNProtocols: ['h2'] });
    let ended = false;
    socket
      .on('error', () => {})
      .on('close', () => {
        ended = true;
      });
    socket.resume();
    socket.write(Buffer.concat([PREFACE, ...first]));
    let bytes = 0;
    const end = performance.now() + Math.max(FLOOD_MS, 10_000);
    while (!ended && performance.now() < end) {
      const more = make();
      if (!socket.write(more)) await Promise.race([once(socket, 'drain'), sleep(100)]).catch(() => {});
      bytes += more.length;
      await sleep(1);
    }
    socket.destroy();
    return { ended, bytes };
  }

  test('the frames that follow are HTTP/2 but for what is wrong with them on purpose', async () => {
    const socket = await tls({ ALPNProtocols: ['h2'] });
    const path = Buffer.from('/whip/demo');
    const get = Buffer.from([0x82, 0x87, 0x04, path.length, ...path, 0x01, 1, ...Buffer.from('x')]);
    socket.write(Buffer.concat([PREFACE, frame(HEADERS, END_HEADERS | END_STREAM, 1, get)]));
    const types = new Set();
    let unread = Buffer.alloc(0);
    socket.on('data', data => {
      unread = Buffer.concat([unread, data]);
      while (unread.length >= 9 && unread.length >= 9 + unread.readUIntBE(0, 3)) {
        types.add(unread[3]);
        unread = unread.subarray(9 + unread.readUIntBE(0, 3));
      }
    });
    await until('there is an answer', () => types.has(HEADERS));
    socket.destroy();
  });

  test('while streams of HTTP/2 are opened and reset as fast as they can be', context =>
    during(context, async () => {
      let stream = -1;
      const cancel = Buffer.from([0, 0, 0, 8]);
      const pair = () => {
        stream += 2;
        return [frame(HEADERS, END_HEADERS, stream, HEAD), frame(RST_STREAM, 0, stream, cancel)];
      };
      const { ended, bytes } = await writeOn([], () =>
        Buffer.concat(Array.from({ length: 500 }, pair).flat()),
      );
      context.diagnostic(`ended after ${bytes} bytes`);
      assert.ok(ended, 'such a connection is ended');
    }));

  test('while the head of one request goes on in frame after frame', context =>
    during(context, async () => {
      const literal = Buffer.concat([
        Buffer.from([0x00, 1]),
        Buffer.from('a'),
        Buffer.from([0x7f, 0x81, 0x01]),
        Buffer.alloc(256, 97),
      ]);
      const more = Buffer.concat(Array.from({ length: 20 }, () => frame(CONTINUATION, 0, 1, literal)));
      const { ended, bytes } = await writeOn([frame(HEADERS, 0, 1, HEAD)], () => more);
      context.diagnostic(`ended after ${bytes} bytes`);
      assert.ok(ended, 'such a connection is ended');
    }));

  test('while a body comes in frames without a byte in them', context =>
    during(context, async () => {
      const more = Buffer.concat(Array.from({ length: 2_000 }, () => frame(DATA, 0, 1)));
      const { ended, bytes } = await writeOn([frame(HEADERS, END_HEADERS, 1, HEAD)], () => more);
      context.diagnostic(`ended after ${bytes} bytes`);
      assert.ok(ended, 'such a connection is ended');
    }));

  test('while bodies without end are sent', context =>
    during(context, async () => {
      const statuses = new Set();
      await untilThen(async () => {
        const socket = await tls({});
        socket.on('error', () => {});
        const answered = once(socket, 'data').catch(() => []);
        const length = 10 * 1024 ** 3;
        socket.write(
          `POST /whip/demo HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: ${length}\r\n\r\n`,
        );
        socket.write(Buffer.alloc(64 * 1024));
        statuses.add(String((await answered)[0]).split(' ')[1]);
        socket.destroy();
      });
      assert.deepEqual([...statuses], ['413']);
    }));

  test('while offers are posted as fast as they are answered', context =>
    during(context, async () => {
      const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
      session.on('error', () => {});
      const offers = [
        publisherOffer().replaceAll('m=video', 'm=nothing'),
        'v=0\r\n',
        publisherOffer().slice(0, 400),
      ];
      let posted = 0;
      const post = async () => {
        const headers = { ':path': '/whip/demo', ':method': 'POST', 'content-type': 'application/sdp' };
        const stream = session.request(headers);
        stream.end(offers[posted % offers.length]);
        posted += 1;
        const [answer] = await once(stream, 'response');
        stream.resume();
        await once(stream, 'close');
        assert.ok([400, 422, 429].includes(answer[':status']), `answered ${answer[':status']}`);
      };
      await untilThen(() => Promise.all(Array.from({ length: 32 }, post)));
      context.diagnostic(`${posted} offers`);
      session.destroy();
    }));

  /** Sends datagrams from one address, some thousand a second, and counts what comes back. */
  async function flood(make) {
    const socket = createSocket('udp4');
    let [datagrams, answers] = [0, 0];
    socket.on('message', () => {
      answers += 1;
    });
    socket.connect(server.ports.udp, '127.0.0.1');
    await once(socket, 'connect');
    await untilThen(async () => {
      for (let n = 0; n < 20; n += 1) socket.send(make(n));
      datagrams += 20;
      await sleep(2);
    });
    await sleep(100);
    socket.close();
    return { datagrams, answers };
  }

  for (const [what, make] of [
    ['random bytes', n => randomBytes((37 * n) % 2000)],
    ['checks of nobody', n => bindingRequest(`nobody${n}:peer`, 'secret-of-nobody-at-all')],
  ]) {
    test(`while thousands of ${what} arrive`, context =>
      during(context, async () => {
        const { datagrams, answers } = await flood(make);
        context.diagnostic(`${datagrams} datagrams`);
        assert.equal(answers, 0, 'a stranger was answered');
      }));
  }

  test('while somebody’s user fragment is asked for with wrong passwords', async context => {
    const opened = await new Promise((resolve, reject) => {
      const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false }).on(
        'error',
        reject,
      );
      const headers = { ':path': '/whip/victim/eve', ':method': 'POST', 'content-type': 'application/sdp' };
      const stream = session.request(headers);
      stream.end(publisherOffer());
      let text = '';
      stream.setEncoding('utf8').on('data', part => {
        text += part;
      });
      stream.on('end', () => {
        session.close();
        resolve(text);
      });
    });
    const [, ufrag] = /a=ice-ufrag:(\S+)/.exec(opened);
    const wrong = bindingRequest(`${ufrag}:4ZcD`, 'not-the-password-at-all');
    await during(context, async () => {
      const { datagrams, answers } = await flood(() => wrong);
      context.diagnostic(`${datagrams} datagrams`);
      assert.equal(answers, 0, 'a stranger was answered');
    });
  });
});
