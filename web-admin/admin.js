// The operator's page: how the server is, who is in which room, and why somebody's call is as it is.

import { element, show } from './dom.js';
import { called, joined, roomsView } from './rooms.js';
import { serverView } from './server.js';
import { sessionView } from './session.js';
import { counted } from './words.js';

/** How often it is looked at; a person sees no more, and an engine answers in under a millisecond. */
const LOOK_EVERY_MS = 2000;

/** Looks that the chart remembers: five minutes of them. */
const HISTORY = 150;

const at = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const [state, server, rooms, session, find] = ['state', 'server', 'rooms', 'session', 'find'].map(at);
const filter = /** @type {HTMLInputElement} */ (at('filter'));

/** What was seen of the way to who is looked at. @type {{whose: string, seen: import('./session.js').History}} */
let remembered = { whose: '', seen: [] };

/** Whose session is shown, from the address. */
function chosen() {
  const [room, participant] = location.hash.slice(1).split('/').map(decodeURIComponent);
  return room && participant ? { room, participant } : null;
}

/** @param {string} path */
async function ask(path) {
  const response = await fetch(path, { cache: 'no-store' });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** @param {import('./session.js').Report[]} reports */
function remember(reports) {
  const whose = location.hash;
  if (remembered.whose !== whose) remembered = { whose, seen: [] };
  const path = reports.find(report => report.path)?.path;
  if (!path) return;
  remembered.seen.push({
    estimate: path.estimate_bits_per_second,
    allocated: path.allocated_bits_per_second,
  });
  remembered.seen = remembered.seen.slice(-HISTORY);
}

/** @param {ReturnType<typeof joined>} list */
async function showSession(list) {
  const who = chosen();
  document.body.classList.toggle('has-session', who !== null);
  if (!who) {
    show(session, element('p', { class: 'empty' }, 'Choose somebody to see why their call is as it is.'));
    return;
  }
  const { room, participant } = who;
  const path = `/rooms/${encodeURIComponent(room)}/participants/${encodeURIComponent(participant)}/stats`;
  /** @type {import('./session.js').Report[] | null} */
  const reports = await ask(path);
  const people = list.find(one => one.room === room)?.sessions ?? [];
  const nameOf = (/** @type {string} */ id) =>
    called(people.find(person => person.participant === id) ?? { participant: id });
  if (reports) remember(reports);
  show(
    session,
    element('p', { class: 'back' }, element('a', { href: '#' }, 'All rooms')),
    ...(reports?.map(report => sessionView(room, report, nameOf, remembered.seen)) ?? [
      element('p', { class: 'empty' }, `${participant} has left ${room}.`),
    ]),
  );
}

async function look() {
  try {
    const [overview, list] = await Promise.all([ask('/server'), ask('/rooms')]);
    const there = joined(list ?? []);
    const sessions = there.reduce((sum, room) => sum + room.sessions.length, 0);
    find.hidden = there.length < 2 && sessions < 10;
    show(state, `${counted(sessions, 'session')} in ${counted(there.length, 'room')}`);
    show(server, serverView(overview, { rooms: there.length, sessions }));
    show(rooms, ...roomsView(there, filter.value.trim(), location.hash));
    await showSession(there);
    document.body.classList.remove('is-stale');
  } catch (error) {
    document.body.classList.add('is-stale');
    show(state, `The server does not answer: ${/** @type {Error} */ (error).message}`);
  }
}

addEventListener('hashchange', async () => {
  await look();
  // On a small window the one takes the place of the other.
  if (chosen() && matchMedia('(max-width: 55rem)').matches) {
    scrollTo(0, 0);
    session.focus();
  }
});
filter.addEventListener('input', look);
for (;;) {
  if (!document.hidden) await look();
  await new Promise(done => setTimeout(done, LOOK_EVERY_MS));
}
