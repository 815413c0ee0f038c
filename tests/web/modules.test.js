// What the page's modules compute, without a browser. Run with `npm run test:web`.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { focusLayout, gridLayout } from '../../web/app/layout.js';
import { partsOf } from '../../web/app/links.js';
import { initialsOf, roomName, roomOfPath, suggestRoom } from '../../web/app/names.js';
import { SeatOrder } from '../../web/app/seats.js';
import { isOffered } from '../../web/codecs.js';
import { Roster } from '../../web/roster.js';
import { iceFragment, markSlides, slimSlots, withIce } from '../../web/sdp.js';
import { parseIceServers, parseLinks } from '../../web/session.js';
import { activeEncodings } from '../../web/simulcast.js';
import { gradeInbound, gradeOutbound, isOwnFault } from '../../web/stats.js';
import { strings as german } from '../../web/strings/de.js';
import { strings as english } from '../../web/strings/en.js';
import { assignSlots, wishDocument } from '../../web/wishes.js';

const wish = track => ({ track, width: 640, height: 360 });
const tracksOf = assigned => Object.fromEntries([...assigned].map(([mid, { track }]) => [mid, track]));
const seat = (key, more = {}) => ({ key, participant: key, isScreen: false, isSelf: false, ...more });

test('a picture stays in its slot when the order on screen changes', () => {
  const before = new Map([
    ['2', 'ada'],
    ['3', 'wei'],
  ]);
  const assigned = assignSlots([wish('wei'), wish('kofi'), wish('ada')], ['2', '3', '4'], before);
  assert.deepEqual(tracksOf(assigned), { 2: 'ada', 3: 'wei', 4: 'kofi' });
});

test('what nobody wants is not sent, but for the smallest of several', () => {
  const layers = [{ rid: 'q' }, { rid: 'h' }, { rid: 'f' }];
  const wanted = (q, h, f) => [
    { rid: 'q', wanted: q },
    { rid: 'h', wanted: h },
    { rid: 'f', wanted: f },
  ];
  const all = Number.POSITIVE_INFINITY;
  assert.deepEqual(activeEncodings(layers, all, []), [true, true, true]);
  assert.deepEqual(activeEncodings(layers, all, wanted(true, false, true)), [true, false, true]);
  assert.deepEqual(activeEncodings(layers, all, wanted(false, false, false)), [true, false, false]);
  assert.deepEqual(activeEncodings(layers, 2, wanted(true, true, true)), [true, true, false]);
  assert.deepEqual(activeEncodings(layers, all, wanted(true, true, false).slice(2)), [true, true, false]);
  const one = [{}];
  assert.deepEqual(activeEncodings(one, all, [{ rid: null, wanted: false }]), [false]);
  assert.deepEqual(activeEncodings(one, all, [{ rid: null, wanted: true }]), [true]);
});

test('with fewer slots than wishes the most wanted are seen', () => {
  const assigned = assignSlots(
    [wish('screen'), wish('ada'), wish('wei')],
    ['2', '3'],
    new Map([['2', 'wei']]),
  );
  assert.deepEqual(tracksOf(assigned), { 2: 'screen', 3: 'ada' });
});

test('a slot that nobody wants shows nothing, and voices are chosen by loudness', () => {
  const document = wishDocument(new Map([['2', wish('ada')]]), ['2', '3'], ['4']);
  assert.deepEqual(document, { slots: { 2: wish('ada'), 3: null, 4: 'auto' }, rest: null });
});

const OFFER = [
  'v=0',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=ice-ufrag:abcd',
  'a=ice-pwd:0123456789012345678901',
  'a=mid:0',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=ice-ufrag:abcd',
  'a=ice-pwd:0123456789012345678901',
  'a=mid:1',
  '',
].join('\r\n');

test('only the screen is marked as slides', () => {
  const sections = markSlides(OFFER, new Set(['1'])).split(/(?=^m=)/m);
  assert.ok(!sections[1].includes('a=content:slides'));
  assert.ok(sections[2].endsWith('a=mid:1\r\na=content:slides\r\n'));
  assert.equal(markSlides(OFFER, new Set()), OFFER);
});

test('a restart asks with new credentials and takes over those of the answer', () => {
  const fragment = iceFragment(OFFER);
  assert.ok(fragment.startsWith('a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=audio'));
  const answer =
    'a=ice-ufrag:wxyz\r\na=ice-pwd:new\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=candidate:1 1 udp 1 ::1 9 typ host\r\n';
  const restarted = withIce(OFFER, answer);
  assert.equal(restarted.match(/a=ice-ufrag:wxyz\r\n/g)?.length, 2);
  assert.equal(restarted.match(/a=candidate:1 1 udp 1 ::1 9 typ host\r\n/g)?.length, 1);
  assert.ok(!restarted.includes('abcd'));
});

test('a restart keeps the TCP candidates, which its answer does not name', () => {
  const passive = 'a=candidate:2 1 tcp 2 ::1 9 typ host tcptype passive ufrag abcd\r\n';
  const former = OFFER.replace(/^m=.*\r\n/gm, line => `${line}${passive}`);
  const answer = 'a=ice-ufrag:wxyz\r\na=ice-pwd:new\r\na=candidate:1 1 udp 1 ::1 9 typ host\r\n';
  const kept = withIce(former, answer).match(/^a=candidate:.*$/gm) ?? [];
  assert.deepEqual(
    kept.map(line => line.trim()),
    [
      'a=candidate:1 1 udp 1 ::1 9 typ host',
      'a=candidate:2 1 tcp 2 ::1 9 typ host tcptype passive ufrag wxyz',
    ],
  );
});

test('links are found by their relation', () => {
  const header =
    '</sessions/a/events>; rel="urn:plenum:events", </sessions/a/subscriptions>; rel="urn:plenum:subscriptions"';
  assert.equal(parseLinks(header).get('urn:plenum:events'), '/sessions/a/events');
  assert.equal(parseLinks(header).get('urn:plenum:subscriptions'), '/sessions/a/subscriptions');
  assert.equal(parseLinks('').size, 0);
});

test('relays come with the credentials that are for them', () => {
  const header =
    '</sessions/a/events>; rel="urn:plenum:events", <turn:a:3478?transport=udp>; rel="ice-server"; ' +
    'username="17:demo/ada"; credential="Og+/4514="; credential-type="password", <turns:[::1]:443>; ' +
    'rel="ice-server"; username="17:demo/ada"; credential="Og+/4514="; credential-type="password"';
  const credentials = { username: '17:demo/ada', credential: 'Og+/4514=' };
  assert.deepEqual(parseIceServers(header), [
    { urls: 'turn:a:3478?transport=udp', ...credentials },
    { urls: 'turns:[::1]:443', ...credentials },
  ]);
  assert.equal(parseLinks(header).get('urn:plenum:events'), '/sessions/a/events');
  assert.deepEqual(parseIceServers('</sessions/a/events>; rel="urn:plenum:events"'), []);
});

test('who leaves takes their tracks and the floor with them', () => {
  const roster = new Roster();
  const camera = { id: 'v1', participant: 'ada', kind: 'video', source: 'camera', muted: false };
  roster.apply('snapshot', {
    me: 'me',
    participants: [
      { id: 'me', name: '' },
      { id: 'ada', name: 'Ada' },
    ],
    tracks: [camera],
    bindings: [{ mid: '2', track: 'v1', participant: 'ada' }],
    paused: ['2'],
    speaker: 'ada',
  });
  assert.equal(roster.slotOf('v1'), '2');
  assert.ok(roster.halted.has('2'), 'it is said to be paused for whoever comes back');
  assert.deepEqual(roster.others, [{ id: 'ada', name: 'Ada' }]);
  roster.apply('participant-left', { id: 'ada' });
  assert.equal(roster.tracks.size, 0);
  assert.equal(roster.speaker, null);
});

test('events of a later version of the server change nothing', () => {
  const roster = new Roster();
  roster.apply('fireworks', { id: 'x' });
  assert.equal(roster.participants.size, 0);
});

/** Windows from a small telephone to a large screen. */
const WINDOWS = [
  [304, 420],
  [390, 700],
  [844, 300],
  [1250, 660],
  [2500, 1300],
];

const inside = (box, width, height) =>
  box.x >= -0.5 && box.y >= -0.5 && box.x + box.width <= width + 0.5 && box.y + box.height <= height + 0.5;
const apart = (a, b) =>
  a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;

test('tiles stay inside the window and never lie on each other', () => {
  for (const [width, height] of WINDOWS) {
    for (let count = 1; count <= 60; count += 1) {
      const layouts = [
        gridLayout(width, height, count),
        focusLayout(width, height, count, count % 2 ? 16 / 9 : null),
      ];
      for (const { boxes } of layouts) {
        assert.ok(boxes.length > 0 && boxes.length <= Math.max(1, count));
        boxes.forEach((box, i) => {
          assert.ok(inside(box, width, height), `${width}x${height}, ${count} people, tile ${i}`);
          for (const other of boxes.slice(i + 1))
            assert.ok(apart(box, other), `${width}x${height}, ${count} people`);
        });
      }
    }
  }
});

test('a laptop shows 25 people on one page, a telephone still shows faces', () => {
  assert.equal(gridLayout(1250, 660, 25).perPage, 25);
  const telephone = gridLayout(390, 650, 40);
  assert.ok(telephone.perPage >= 6);
  assert.ok(telephone.boxes.every(({ width }) => width >= 150));
});

test('who speaks on a later page comes to the first, in place of who was silent longest', () => {
  const order = new SeatOrder();
  const seats = ['a', 'b', 'self', 'c', 'd'].map(key => seat(key));
  const keys = () =>
    order
      .sort(seats)
      .map(({ key }) => key)
      .join(' ');
  assert.equal(keys(), 'a b self c d');
  order.spoke('a', ['a', 'b']);
  assert.equal(keys(), 'a b self c d');
  order.spoke('d', ['a', 'b']);
  assert.equal(keys(), 'a d self c b');
  // Whoever has a place of their own, as oneself, does not give way.
  order.spoke('c', ['a', 'd']);
  assert.equal(keys(), 'c d self a b');
});

test('who speaks when one comes is at the front', () => {
  const order = new SeatOrder();
  const seats = ['a', 'b', 'c'].map(key => seat(key));
  order.sort(seats);
  order.spoke('c', []);
  assert.equal(order.sort(seats)[0].key, 'c');
});

test('a screen comes before people', () => {
  const order = new SeatOrder();
  const sorted = order.sort([seat('a'), seat('a/screen', { isScreen: true })]);
  assert.equal(sorted[0].key, 'a/screen');
});

test('what people type becomes a name that the server takes', () => {
  assert.equal(roomName('  Café du Nord '), 'Cafe-du-Nord');
  assert.equal(roomName('..'), null);
  assert.equal(roomName('日本'), null);
  assert.equal(roomName('x'.repeat(80))?.length, 64);
  assert.equal(roomOfPath('/r/demo'), 'demo');
  assert.equal(roomOfPath('/'), null);
  assert.equal(roomOfPath('/r/%E0%A4%A'), null);
  for (let i = 0; i < 50; i += 1) assert.match(suggestRoom(), /^[a-z]+-[a-z]+-[2-9a-z]{5}$/);
});

test('initials are those of the first and the last name', () => {
  assert.equal(initialsOf('Ada King Lovelace'), 'AL');
  assert.equal(initialsOf('wei'), 'W');
  assert.equal(initialsOf(''), '');
});

test('a standing picture is a bad connection, whatever the packets say, and a hiccup is none', () => {
  const inbound = { lost: 0, frozenSeconds: 0 };
  assert.equal(gradeInbound(inbound), 'good');
  assert.equal(gradeInbound({ ...inbound, lost: 0.05 }), 'fair');
  assert.equal(gradeInbound({ ...inbound, frozenSeconds: 0.3 }), 'good');
  assert.equal(gradeInbound({ ...inbound, frozenSeconds: 1.5 }), 'poor');
});

test('one picture that suffers is its sender’s trouble, all of them at once are our own', () => {
  const picture = (mid, more) => ({ mid, kind: 'video', bitrate: 1e5, lost: 0, frozenSeconds: 0, ...more });
  const sample = (pictures, roundTripMs = 20) => ({
    inbound: new Map(pictures.map((more, slot) => [String(slot), picture(String(slot), more)])),
    roundTripMs,
  });
  const [fine, halting, losing] = [{}, { frozenSeconds: 1 }, { lost: 0.08 }];
  assert.equal(isOwnFault(sample([halting, fine, fine])), false);
  assert.equal(isOwnFault(sample([losing, fine, fine])), false);
  assert.equal(isOwnFault(sample([halting, losing, fine])), true);
  assert.equal(isOwnFault(sample([losing, { lost: 0.02 }, fine])), true);
  assert.equal(isOwnFault(sample([fine, fine], 900)), true);
  assert.equal(isOwnFault(sample([halting])), false);
  assert.equal(isOwnFault(sample([losing])), true);
  assert.equal(isOwnFault(sample([losing]), new Set(['0'])), false);
});

test('a layer that rests because nobody wants it says nothing of the uplink', () => {
  const layer = { kind: 'video', limitation: 'bandwidth', fps: 0, isWanted: true };
  const sample = outbound => ({ roundTripMs: 20, lostUpstream: 0, outbound });
  assert.equal(gradeOutbound(sample([{ ...layer, isWanted: false }])), 'good');
  assert.equal(gradeOutbound(sample([layer])), 'fair');
  assert.equal(gradeOutbound({ ...sample([]), lostUpstream: 0.2 }), 'poor');
});

test('a slot that our path has no room for is known until it has', () => {
  const roster = new Roster();
  roster.apply('quality', { mid: '2', paused: true });
  assert.deepEqual([...roster.halted], ['2']);
  roster.apply('quality', { mid: '2', paused: false });
  assert.deepEqual([...roster.halted], []);
});

test('of each codec the profiles in use are offered, and nothing that is not forwarded', () => {
  const offered = (mimeType, sdpFmtpLine) => isOffered({ mimeType, sdpFmtpLine });
  assert.ok(offered('video/VP8') && offered('video/rtx') && offered('audio/opus', 'minptime=10'));
  assert.ok(offered('video/VP9', 'profile-id=0') && !offered('video/VP9', 'profile-id=2'));
  assert.ok(offered('video/H264', 'packetization-mode=1;profile-level-id=42e01f'));
  assert.ok(!offered('video/H264', 'packetization-mode=0;profile-level-id=42e01f'));
  assert.ok(!offered('audio/red') && !offered('video/ulpfec') && !offered('audio/PCMU'));
});

test('the text of a slot loses what it has no use for, and what we send loses nothing', () => {
  const lines = [
    'a=extmap:1 urn:ietf:params:rtp-hdrext:toffset',
    'a=rtcp-fb:96 goog-remb',
    'a=rtcp-fb:96 nack',
  ];
  const section = direction =>
    ['m=video 9 UDP/TLS/RTP/SAVPF 96', ...lines, `a=${direction}`, ''].join('\r\n');
  assert.equal(slimSlots(section('sendonly')), section('sendonly'));
  assert.equal(
    slimSlots(section('recvonly'))
      .match(/^a=.*$/gm)
      ?.join(),
    'a=rtcp-fb:96 nack,a=recvonly',
  );
});

test('addresses in a text are links, without the punctuation around them', () => {
  const hrefs = words => partsOf(words).flatMap(({ href }) => href ?? []);
  assert.deepEqual(hrefs('See https://a.example/x, or (http://b.example/y).'), [
    'https://a.example/x',
    'http://b.example/y',
  ]);
  assert.deepEqual(hrefs('https://c.example/wiki/Plenum_(hall)'), ['https://c.example/wiki/Plenum_(hall)']);
  assert.deepEqual(hrefs('javascript:alert(1) ftp://d.example https://'), []);
  const words = 'a https://a.example b';
  assert.equal(
    partsOf(words)
      .map(({ text }) => text)
      .join(''),
    words,
  );
});

test('what a snapshot does not say of rights is the least', () => {
  const roster = new Roster();
  roster.apply('snapshot', { me: 'p1', participants: [], tracks: [], bindings: [] });
  assert.equal(roster.grants.admin, false);
  assert.deepEqual([roster.isLocked, roster.messages], [false, []]);
  roster.apply('room', { locked: true, metadata: {} });
  assert.equal(roster.isLocked, true);
});

/** The keys of an object and of all in it, in order. */
const keysOf = object =>
  Object.entries(object).flatMap(([key, value]) =>
    typeof value === 'object' ? keysOf(value).map(inner => `${key}.${inner}`) : [key],
  );

test('every language has every sentence, and none is left as it was', () => {
  assert.deepEqual(keysOf(german), keysOf(english));
  const same = keysOf(english).filter(path => {
    const [a, b] = [english, german].map(strings => path.split('.').reduce((at, key) => at[key], strings));
    // Short words are often the same.
    return typeof a === 'string' && a === b && a.length > 15;
  });
  assert.deepEqual(same, []);
});

/** A module's address, and those of all that it imports at once, in order. */
async function importsOf(path, found = new Set()) {
  if (found.has(path)) return found;
  found.add(path);
  const source = await readFile(new URL(`../../web${path}`, import.meta.url), 'utf8');
  for (const [, from] of source.matchAll(/^(?:import|export) [^;]*?from '(.+?)';/gm)) {
    await importsOf(new URL(from, `file://${path}`).pathname, found);
  }
  return found;
}

for (const [page, script] of [
  ['index', '/app/front.js'],
  ['room', '/app/main.js'],
  ['watch', '/app/watch.js'],
  ['publish', '/app/publish.js'],
]) {
  test(`${page}.html names every module it needs, so that none waits for another to be read`, async () => {
    const html = await readFile(new URL(`../../web/${page}.html`, import.meta.url), 'utf8');
    const named = [...html.matchAll(/<link rel="modulepreload"(?: fetchpriority="low")? href="(.+?)">/g)].map(
      ([, href]) => href,
    );
    assert.ok(html.includes(`src="${script}"`));
    assert.deepEqual([...named, script].sort(), [...(await importsOf(script))].sort());
  });
}

test('the front page and that of a room have one head and one beginning, but for their modules', async () => {
  const rest = async page => {
    const text = await readFile(new URL(`../../web/${page}.html`, import.meta.url), 'utf8');
    return text.split('\n').filter(line => !/modulepreload|<script/.test(line));
  };
  assert.deepEqual(await rest('room'), await rest('index'));
});

test('the pages of players and of calls of two have one head, but for their modules', async () => {
  const head = async page => {
    const text = await readFile(new URL(`../../web/${page}.html`, import.meta.url), 'utf8');
    const lines = text.slice(0, text.indexOf('</head>')).split('\n');
    return lines.filter(line => !/modulepreload|<script/.test(line));
  };
  assert.deepEqual(await head('direct'), await head('watch'));
});
