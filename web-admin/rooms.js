// Which rooms there are, and who is in them; those in trouble first.

import { element } from './dom.js';
import { age, BAD_LOSS, BAD_ROUND_TRIP_SECONDS, counted, doing, milliseconds, percent } from './words.js';

/**
 * @typedef {object} Session
 * @property {string} participant
 * @property {string | null} name
 * @property {string} door
 * @property {boolean} connected
 * @property {number} age_seconds
 * @property {number} publishes
 * @property {number} receives
 * @property {number} loss_ratio
 * @property {number | null} round_trip_seconds
 *
 * @typedef {{room: string, shard: number, sessions: Session[]}} Room
 */

/** People who are listed at once: what a browser draws anew in a moment, and nobody reads more. */
const MOST_PEOPLE = 200;

/** Who connects has this long before it is odd; after 15 s it is over. */
const CONNECTING_SECONDS = 3;

/** @param {Session} session */
const isLate = ({ connected, age_seconds: seconds }) => !connected && seconds > CONNECTING_SECONDS;

/** @param {Session} session */
function isBad(session) {
  return (
    isLate(session) ||
    session.loss_ratio > BAD_LOSS ||
    (session.round_trip_seconds ?? 0) > BAD_ROUND_TRIP_SECONDS
  );
}

/** How somebody is called. @param {{name?: string | null, participant: string}} who */
export const called = ({ name, participant }) => name || participant;

/** @param {string} room @param {string} participant */
export const addressOf = (room, participant) =>
  `#${encodeURIComponent(room)}/${encodeURIComponent(participant)}`;

/** @param {string} text @param {string | undefined} tone */
const chip = (text, tone) => text && element('span', { class: 'chip', 'data-tone': tone }, text);

/** @param {string} room @param {Session} session @param {string} chosen */
function person(room, session, chosen) {
  const href = addressOf(room, session.participant);
  const trip = session.round_trip_seconds;
  const for_ = session.connected ? age(session.age_seconds) : 'connecting';
  return element(
    'li',
    { 'data-key': href, 'data-tone': isBad(session) ? 'bad' : null },
    element('a', { href, 'aria-current': href === chosen ? 'true' : null }, called(session)),
    element(
      'span',
      { class: 'does' },
      `${doing(session.door)}, ${for_} · sends ${session.publishes}, receives ${session.receives}`,
    ),
    element(
      'span',
      { class: 'chips' },
      chip(
        session.loss_ratio > 0 ? `${percent(session.loss_ratio)} lost` : '',
        session.loss_ratio > BAD_LOSS ? 'bad' : undefined,
      ),
      chip(milliseconds(trip), (trip ?? 0) > BAD_ROUND_TRIP_SECONDS ? 'bad' : undefined),
      chip(isLate(session) ? 'does not connect' : '', 'bad'),
    ),
  );
}

/** Rooms that are on several shards are one. @param {Room[]} list */
export function joined(list) {
  /** @type {Map<string, {room: string, shards: number[], sessions: Session[]}>} */
  const rooms = new Map();
  for (const { room, shard, sessions } of list) {
    const known = rooms.get(room) ?? { room, shards: [], sessions: [] };
    known.shards.push(shard);
    known.sessions.push(...sessions);
    rooms.set(room, known);
  }
  return [...rooms.values()];
}

/**
 * @param {ReturnType<typeof joined>} rooms
 * @param {string} wanted part of the name of a room or a person
 * @param {string} chosen the address of who is looked at
 */
export function roomsView(rooms, wanted, chosen) {
  const has = (/** @type {string} */ text) => text.toLowerCase().includes(wanted.toLowerCase());
  const found = rooms
    .map(room => {
      const sessions = has(room.room)
        ? room.sessions
        : room.sessions.filter(session => has(called(session)) || has(session.participant));
      return { ...room, sessions, bad: sessions.filter(isBad).length, isEmpty: room.sessions.length === 0 };
    })
    .filter(({ room, sessions }) => sessions.length > 0 || has(room))
    .sort((a, b) => b.bad - a.bad || b.sessions.length - a.sessions.length || a.room.localeCompare(b.room));
  let left = MOST_PEOPLE;
  const shown = [];
  for (const { room, shards, sessions, bad } of found) {
    if (left <= 0) break;
    const first = sessions.toSorted((a, b) => Number(isBad(b)) - Number(isBad(a))).slice(0, left);
    left -= Math.max(1, first.length);
    shown.push(
      element(
        'article',
        { class: 'room', 'data-key': room },
        element(
          'h2',
          {},
          room,
          element(
            'small',
            {},
            `${counted(sessions.length, 'session')}${bad ? `, ${bad} in trouble` : ''} · ${shards.length === 1 ? 'shard' : 'shards'} ${shards.join(', ')}`,
          ),
        ),
        first.length === 0
          ? element('p', { class: 'quiet' }, 'Nobody is here.')
          : element('ul', { class: 'persons' }, ...first.map(session => person(room, session, chosen))),
        first.length < sessions.length &&
          element('p', { class: 'quiet' }, `and ${sessions.length - first.length} more`),
      ),
    );
  }
  if (rooms.length === 0) return [element('p', { class: 'empty' }, 'There are no rooms.')];
  if (found.length === 0) return [element('p', { class: 'empty' }, 'No room and nobody of that name.')];
  const rest = found.length - shown.length;
  if (rest > 0)
    shown.push(element('p', { class: 'quiet' }, `and ${counted(rest, 'more room')}: find them by name`));
  return shown;
}
