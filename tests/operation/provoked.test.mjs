// Every metric of the manual moves when its cause is provoked, and whatever is exported is in the
// manual. What engines count is provoked in virtual time (tests/stories/counting.rs); here it is
// sockets, threads, HTTP, webhooks and the log, in processes of their own.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { post, publisherOffer, viewerOffer } from '../browser/lib/offer.mjs';
import { freeTcpPort, freeUdpPort } from '../browser/lib/ports.mjs';
import { Metrics, Server } from '../browser/lib/server.mjs';
import { bindingRequest } from '../browser/lib/stun.mjs';
import { until } from '../browser/lib/until.mjs';
import { frozen } from './freeze.mjs';

const file = path => fileURLToPath(new URL(path, import.meta.url));
const SERVER = process.env.PLENUM_SERVER ?? file('../../target/debug/plenum');
const LOADTEST = process.env.PLENUM_LOADTEST ?? file('../../target/debug/loadtest');
const KEY = 'a secret for tests that nobody guesses';

/** What cannot be brought about here in a few seconds, and the tests that do. */
const ELSEWHERE = {
  process_cpu_seconds_total: 'counts whole seconds, and all of this may take less',
  'plenum_log_lines_lost_total{reason="unread"}': 'tests/operation/faults.test.mjs',
  'plenum_udp_drops_total{reason="shard_queue_full"}':
    'needs 1024 wake-ups in a moment: src/shard/inbound.rs',
  'plenum_webhooks_total{result="failed"}': 'takes 46 s: src/webhooks/tests.rs',
  'plenum_webhooks_total{result="dropped"}': 'src/webhooks/tests.rs: what_does_not_fit_the_queue',
  'plenum_shard_video_share_ratio{shard="0"}': 'tests/operation/overload.test.mjs',
  'plenum_http_refusals_total{limit="descriptors"}': 'tests/operation/faults.test.mjs',
  plenum_udp_receive_errors_total: 'no kernel fails here unasked: src/net/receive.rs, a_call_that_fails',
  'plenum_udp_send_errors_total{reason="would_block"}': 'tests/firewall/card.test.mjs',
  'plenum_udp_send_errors_total{reason="no_buffers"}':
    'a network card that is full: src/net/send.rs, whatever_the_kernel_says',
  'plenum_udp_send_errors_total{reason="forbidden"}': 'src/net/loopback_tests.rs',
  'plenum_udp_send_errors_total{reason="unreachable"}': 'tests/firewall/card.test.mjs',
  'plenum_udp_send_errors_total{reason="too_big"}': 'src/net/loopback_tests.rs',
  'plenum_udp_send_errors_total{reason="other"}': 'src/net/loopback_tests.rs',
  'plenum_tcp_closed_total{reason="too_many"}':
    '8192 of them: tests/conformance/limits.rs, there_are_as_many_connections',
  'plenum_tcp_drops_total{reason="slow_receiver"}': 'src/net/tcp/tests.rs: a_client_that_stops_reading',
  'plenum_tcp_drops_total{reason="gone"}': 'a race with its end: src/net/tcp/pipe.rs',
};

/** The relay, with all its labels: tests/firewall/own-relay.test.mjs. */
const RELAY = /^plenum_turn_/;

/** What is as it is, and is right if it is there. */
const CONSTANT =
  /^(plenum_build_info|plenum_shards|plenum_memory_limit_bytes|plenum_tls_certificate_end_timestamp_seconds|process_start_time_seconds|process_max_fds|process_threads|process_virtual_memory_bytes)\b/;

/** All labels that there are; each of them has few values. */
const LABELS = new Set(
  'direction kind le limit method reason result route shard stage state status transport version'.split(' '),
);

const seen = new Map();
const servers = [];
let main, webhooks, folder;

async function serve(options = []) {
  const server = await Server.start(options);
  servers.push(server);
  return server;
}

/** Looks at all that a server exports, and remembers what it was at the least and the most. */
async function look(server = main) {
  const metrics = await server.metrics();
  for (const { name, labels, value } of metrics.samples) {
    const series = seriesOf(server, name, labels);
    const known = seen.get(series) ?? { name, key: keyOf(name, labels), least: value, most: value };
    known.least = Math.min(known.least, value);
    known.most = Math.max(known.most, value);
    seen.set(series, known);
  }
  return metrics;
}

const keyOf = (name, labels) => {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return pairs.length > 0 ? `${name}{${pairs.join(',')}}` : name;
};
const seriesOf = (server, name, labels) => `${server.ports.http} ${keyOf(name, labels)}`;

/** A token (RFC 7519) with these claims. */
function token(claims = {}, secret = KEY, header = {}) {
  const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');
  const grants = { publish: true, subscribe: true, data: true, admin: true };
  const soon = Math.floor(Date.now() / 1000) + 600;
  const body = { exp: soon, room: '*', identity: 'load', grants, ...claims };
  const signed = `${part({ alg: 'HS256', ...header })}.${part(body)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

const bearer = text => ({ authorization: `Bearer ${text}` });
const from = address => ({ 'x-forwarded-for': address });

function loadtest(...args) {
  const child = spawn(
    LOADTEST,
    [...args, '--url', main.url, '--token', token(), '--max-loss', '100', '--max-video-loss', '100'],
    { stdio: 'ignore' },
  );
  return { child, ended: once(child, 'exit') };
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plenum-provoked-'));
  // Takes the second attempt at each event, and lets the first few wait.
  let asked = 0;
  webhooks = createServer((_, response) => {
    asked += 1;
    response.statusCode = asked % 2 === 0 ? 204 : 500;
    setTimeout(() => response.end(), 200);
  }).listen(0, '127.0.0.1');
  await once(webhooks, 'listening');
  main = await serve([
    ...['--shards=2', '--viewers-per-shard=2', `--key=${KEY}`, '--trusted-proxies=127.0.0.1'],
    ...['--sessions-per-address=2', '--http-burst=5', '--http-rate=5', '--message-rate=1'],
    ...[`--webhook=http://127.0.0.1:${webhooks.address().port}/`, '--webhook-private'],
    `--webhook-secret=whsec_${randomBytes(24).toString('base64')}`,
    '--end-on-expiry',
  ]);
  await look();
});

after(async () => {
  await Promise.all(servers.map(server => server.stop()));
  webhooks?.close();
  if (folder) await rm(folder, { recursive: true });
});

test('a call moves what counts calls', { timeout: 60_000 }, async () => {
  const call = loadtest('broadcast', '--subscribers', '6', '--seconds', '6');
  await until('all are connected', async () => (await look()).sum(/^plenum_sessions_connected$/) === 7);
  const { samples } = await look();
  const shards = samples.filter(({ name, value }) => name === 'plenum_shard_busy_seconds_total' && value > 0);
  assert.equal(shards.length, 2, 'both shards have something to do');
  // The shard that only has viewers stands still: its queue fills with what the other forwards.
  const mirror = await busiest('plenum_shard_wake_ups_total', -1);
  await frozen(main.pid, 2.5, [`shard-${mirror}`], () => look());
  await look();
  await call.ended;
  await until('the events were delivered', async () => {
    const metrics = await look();
    return metrics.sum(/^plenum_webhooks_total$/, { result: 'delivered' }) >= 2;
  });
});

/** The shard with most (1) or least (-1) of something. */
async function busiest(name, sign) {
  const { samples } = await look();
  const each = samples.filter(sample => sample.name === name);
  each.sort((a, b) => sign * (b.value - a.value));
  return each[0].labels.shard;
}

test('strangers move what counts strangers', { timeout: 60_000 }, async () => {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const send = datagram =>
    new Promise((done, failed) =>
      socket.send(datagram, main.ports.udp, '127.0.0.1', error => (error ? failed(error) : done())),
    );
  const rtp = Buffer.alloc(200, 0x80);
  const question = Buffer.from('000100002112a4427472616e73616374696f6e21', 'hex');
  await send(rtp);
  await send(bindingRequest('nobody:me', 'x'.repeat(24)));
  await send(Buffer.from([0, 1, 0xff, 0xff, 0x21, 0x12, 0xa4, 0x42, ...Buffer.alloc(12)]));
  await send(Buffer.from([0xff, 1, 2, 3]));
  await send(Buffer.alloc(0));
  for (let n = 0; n < 400; n += 1) await send(question);
  await until('questions were refused', async () => (await look()).dropped('stun_rate') > 0);
  // Nobody reads what comes, and the kernel keeps only so much of it.
  await frozen(main.pid, 3, ['receive'], async () => {
    const large = Buffer.alloc(1400, 0x80);
    for (let n = 0; n < 12_000; n += 1) await send(large);
  });
  await until('it shows', async () => (await look()).dropped('receive_buffer_full') > 0);
  socket.close();
});

/** A session whose owner has proven by a check where he is; gives what sends from there. */
async function proven(door, offer) {
  const answer = await post(
    `${main.url}${door}`,
    offer,
    bearer(token({ identity: `p${randomBytes(4).toString('hex')}` })),
  );
  assert.equal(answer.status, 201, await answer.clone().text());
  const sdp = await answer.text();
  const value = name => new RegExp(`^a=${name}:(.*)\r$`, 'm').exec(sdp)[1];
  return {
    location: new URL(answer.headers.get('location'), main.url).href,
    check: bindingRequest(`${value('ice-ufrag')}:4ZcD`, value('ice-pwd')),
  };
}

test('a shard that stands still is missed, and what it was to do waits', { timeout: 60_000 }, async () => {
  const { check, location } = await proven('/whip/flood', publisherOffer());
  const socket = createSocket('udp4');
  const answered = once(socket, 'message');
  const send = datagram =>
    new Promise(done => socket.send(datagram, main.ports.udp, '127.0.0.1', () => done()));
  await send(check);
  await answered;
  await frozen(main.pid, 4, ['shard-0', 'shard-1'], async () => {
    // One at a time, so that the receiving thread hands over as many batches.
    for (let n = 0; n < 6_000; n += 1) await send(Buffer.alloc(50, 0x80));
    const metrics = await look();
    assert.equal(metrics.sum(/^plenum_shards_unanswered$/), 2);
    assert.ok(metrics.sum(/^plenum_shard_queued_commands$/) > 0);
  });
  await until('all answer again', async () => (await look()).sum(/^plenum_shards_unanswered$/) === 0);
  socket.close();
  await fetch(location, { method: 'DELETE', headers: bearer(token()) });
});

test('connections move what counts connections', { timeout: 60_000 }, async () => {
  const { check, location } = await proven('/whep/flood', viewerOffer());
  const dial = () => connect(main.ports.udp, '127.0.0.1').on('error', () => {});
  const good = dial();
  good.write(Buffer.concat([Buffer.from([0, check.length]), check]));
  await once(good, 'data');
  const silent = dial();
  dial().write('GET / HTTP/1.1\r\n\r\n');
  dial().end();
  const many = Array.from({ length: 1010 }, dial);
  await until('there are too many', async () => {
    const metrics = await look();
    return metrics.sum(/^plenum_tcp_closed_total$/, { reason: 'too_many_of_address' }) > 0;
  });
  for (const socket of many) socket.destroy();
  await once(silent.resume(), 'close');
  await look();
  good.destroy();
  await fetch(location, { method: 'DELETE', headers: bearer(token()) });
});

test('requests move what counts requests, and each refusal has its reason', { timeout: 60_000 }, async () => {
  const ask = (headers, address) =>
    post(`${main.url}/whip/demo`, publisherOffer(), { ...headers, ...(address ? from(address) : {}) });
  const past = Math.floor(Date.now() / 1000) - 600;
  for (const [headers, status] of [
    [{}, 401],
    [bearer('garbage'), 401],
    [bearer('x'.repeat(5000)), 401],
    [bearer(token({}, KEY, { kid: 'another' })), 401],
    [bearer(token({}, 'another secret that is long enough, too')), 401],
    [bearer(token({ exp: past })), 401],
    [bearer(token({ room: undefined })), 401],
    [bearer(token({ room: 'other' })), 403],
  ]) {
    const answer = await ask(headers);
    assert.equal(answer.status, status, await answer.text());
  }
  const opened = [];
  for (let n = 0; n < 3; n += 1) {
    opened.push(await ask(bearer(token({ identity: `guest${n}` })), '198.51.100.1'));
  }
  assert.deepEqual(
    opened.map(({ status }) => status),
    [201, 201, 429],
  );
  // More at once than there may be at once, so that what is allowed each second makes no difference.
  const rated = await Promise.all(Array.from({ length: 40 }, () => ask({}, '198.51.100.2')));
  const statuses = rated.map(({ status }) => status);
  assert.ok(statuses.includes(429), String(statuses));

  const location = new URL(opened[0].headers.get('location'), main.url).href;
  const events = await fetch(`${location}/events`);
  await until('a stream is open', async () => (await look()).sum(/^plenum_event_streams$/) === 1);
  await events.body.cancel();
  const say = async data => {
    const body = JSON.stringify({ session: location.split('/').at(-1), event: 'chat', data });
    const headers = { 'content-type': 'application/json', ...bearer(token({ identity: 'guest0' })) };
    return (await fetch(`${main.url}/rooms/demo/messages`, { method: 'POST', headers, body })).status;
  };
  const said = await Promise.all(Array.from({ length: 40 }, (_, n) => say(n)));
  assert.ok(said.includes(429), String(said));
  await look();
});

test('what the machine lacks is a reason, too', { timeout: 60_000 }, async () => {
  const [poor, busy] = [await bare(['--max-memory=0.0001']), await bare(['--max-load=0.00001'])];
  const status = async server => (await post(`${server.url}/whip/demo`, publisherOffer())).status;
  for (const server of [poor, busy]) await look(server);
  assert.equal(await status(poor), 503);
  await until('its little load is too much', async () => {
    await look(busy);
    return (await status(busy)) === 503;
  });
  for (const server of [poor, busy]) await look(server);
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  const made = spawnSync('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-days', '30', '-subj', '/CN=localhost', '-keyout', key, '-out', certificate],
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  await look(await serve([`--tls-cert=${certificate}`, `--tls-key=${key}`]));
});

test('what is over a limit is counted by that limit', { timeout: 60_000 }, async () => {
  const small = await serve([
    ...[`--key=${KEY}`, '--shards=1', '--participants-per-room=1', '--rooms-per-shard=2'],
    ...['--sessions-per-identity=1', '--idempotency-keys=0', '--streams-per-session=1'],
  ]);
  await look(small);
  let session;
  const join = async (room, identity, headers = {}) => {
    const url = `${small.url}/whep/${room}`;
    const answer = await post(url, viewerOffer(), { ...bearer(token({ identity })), ...headers });
    session ??= answer.headers.get('location');
    return answer.status;
  };
  assert.equal(await join('one', 'ada', { 'idempotency-key': 'k' }), 201);
  assert.equal(await join('one', 'ben'), 503, 'its room is full');
  assert.equal(await join('two', 'ada'), 201);
  assert.equal(await join('three', 'ben'), 503, 'there are two rooms');
  assert.equal(await join('one', 'ada'), 429, 'she has her session');
  const large = 'x'.repeat(70_000);
  assert.equal((await post(`${small.url}/whep/one`, large, bearer(token({ identity: 'cleo' })))).status, 413);
  const slow = connect(small.ports.http, '127.0.0.1');
  const head = ['POST /whep/one HTTP/1.1', 'host: x', 'content-type: application/sdp', 'content-length: 9'];
  slow.write(`${[...head, `authorization: Bearer ${token({ identity: 'dora' })}`].join('\r\n')}\r\n\r\nv=0`);
  const [answer] = await once(slow, 'data');
  assert.match(String(answer), /^HTTP\/1.1 408/);
  slow.destroy();
  const { status } = await fetch(`${small.url}/whep/one`, { headers: { x: 'x'.repeat(17_000) } });
  assert.equal(status, 431);
  // It is counted once it is answered.
  const isHead = ({ name, labels, value }) =>
    name === 'plenum_http_refusals_total' && labels.limit === 'head' && value > 0;
  await until('the head is counted', async () => (await look(small)).samples.some(isHead));
  const events = `${new URL(session, small.url)}/events`;
  const streams = [await fetch(events), await fetch(events)];
  for (const { body } of streams) await body.cancel();
  await look(small);

  const narrow = await serve(['--media-lines=1']);
  await look(narrow);
  assert.equal((await post(`${narrow.url}/whep/one`, viewerOffer())).status, 422);
  await look(narrow);

  const full = await serve(['--shards=1', '--sessions-per-shard=1']);
  await look(full);
  assert.equal((await post(`${full.url}/whep/one`, viewerOffer())).status, 201);
  assert.equal((await post(`${full.url}/whep/two`, viewerOffer())).status, 503);
  await look(full);
});

/** A server that is never ready, or whose log nobody reads. */
async function bare(options) {
  const ports = { http: await freeTcpPort(), operator: await freeTcpPort(), udp: await freeUdpPort() };
  const flags = Object.entries(ports).map(([name, port]) => `--${name}=127.0.0.1:${port}`);
  const child = spawn(SERVER, [...flags, ...options], { stdio: ['ignore', 'ignore', 'pipe'] });
  const operatorUrl = `http://127.0.0.1:${ports.operator}`;
  const metrics = async () => new Metrics(await (await fetch(`${operatorUrl}/metrics`)).text());
  const stop = async () => {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  const server = { ports, metrics, stop, url: `http://127.0.0.1:${ports.http}` };
  servers.push(server);
  await until('it is up', metrics);
  return server;
}

test('a log that says too much loses lines and counts them', {
  timeout: 60_000,
}, async () => {
  // Three hundred come, and the end of their room is the end of all at once.
  await Promise.all(
    Array.from({ length: 300 }, (_, n) =>
      post(`${main.url}/whip/crowd`, publisherOffer(), bearer(token({ identity: `crowd${n}` }))),
    ),
  );
  await fetch(`${main.url}/api/rooms/crowd`, { method: 'DELETE', headers: bearer(token()) });
  await until('lines were left out', async () => {
    const metrics = await look();
    return metrics.sum(/^plenum_log_lines_lost_total$/, { reason: 'repeated' }) > 0;
  });
});

test('a drain is seen', async () => {
  const left = await fetch(`${main.operatorUrl}/drain?deadline=600`, { method: 'POST' });
  assert.equal(left.status, 202);
  const refused = await post(`${main.url}/whip/late`, publisherOffer(), bearer(token()));
  assert.equal(refused.status, 503);
  await look();
});

test('everything in the manual has moved, and nothing else is exported', async () => {
  const manual = await readFile(file('../../docs/operations.md'), 'utf8');
  const documented = new Set([...manual.matchAll(/^\| `((?:plenum|process)_\w+)/gm)].map(([, name]) => name));
  const stories = await readFile(file('../stories/counting.rs'), 'utf8');
  const [, list] = /const FAMILIES[^=]*= &\[([^\]]*)\]/.exec(stories);
  const engines = new Set([...list.matchAll(/"(\w+)"/g)].map(([, name]) => name));
  assert.ok(documented.size > 60 && engines.size > 15);

  const familyOf = name => name.replace(/_(bucket|sum|count)$/, '');
  const family = name => (documented.has(name) ? name : familyOf(name));
  const exported = new Set([...seen.values()].map(({ name }) => family(name)));
  assert.deepEqual(
    [...exported].filter(name => !documented.has(name)),
    [],
    'not in the manual',
  );
  assert.deepEqual(
    [...documented].filter(name => !exported.has(name)),
    [],
    'only in the manual',
  );

  // None of them is a room, a person or an address: they are as many as the server chooses.
  const labels = [...seen.values()].flatMap(({ key }) =>
    [...key.matchAll(/[{,](\w+)="/g)].map(([, label]) => label),
  );
  assert.deepEqual(
    [...new Set(labels)].filter(label => !LABELS.has(label)),
    [],
  );

  // What the stories leave to this test.
  const here = key => key === 'plenum_join_seconds_count{stage="http"}';
  const moved = new Map();
  for (const { name, key, least, most } of seen.values()) {
    if ((engines.has(family(name)) && !here(key)) || RELAY.test(name) || /_(bucket|sum)$/.test(name))
      continue;
    const has = CONSTANT.test(key) ? most > 0 : most > least || (most > 0 && !key.includes('{'));
    moved.set(key, (moved.get(key) ?? false) || has);
  }
  // Requests and shards come with their labels: each that is there has moved from nothing.
  const comes = /^plenum_(http_request|shard_)/;
  const still = [...moved].filter(([key, has]) => !has && !comes.test(key) && !(key in ELSEWHERE));
  assert.deepEqual(
    still.map(([key]) => key),
    [],
    'never moved',
  );
  for (const name of documented) {
    if (engines.has(name) || RELAY.test(name)) continue;
    const any = [...moved].some(([key, has]) => has && family(key.split('{')[0]) === name);
    assert.ok(any || Object.keys(ELSEWHERE).some(key => key.startsWith(name)), `${name} never moved`);
  }
  const idle = Object.keys(ELSEWHERE).filter(key => !moved.has(key));
  assert.deepEqual(idle, [], 'excused, and not there');
});
