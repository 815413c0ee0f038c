// What an address of ours says: /publish/{room}, /watch/{room}/{participant}, ?muted=1#token=...

import { roomName } from './names.js';

/** The token that the link brought along, behind the `#`: browsers keep that from servers and their logs. */
export function tokenOfPage() {
  return new URLSearchParams(location.hash.slice(1)).get('token') ?? undefined;
}

/**
 * A switch of the address: `?muted`, `?muted=1` and `?muted=true` are on, `?muted=0` and
 * `?muted=false` are off.
 *
 * @param {string} name
 * @param {boolean} otherwise if it says nothing
 */
export function switchOfPage(name, otherwise) {
  const value = new URLSearchParams(location.search).get(name);
  return value === null ? otherwise : !/^(0|false|no|off)$/i.test(value);
}

/**
 * Room and participant of a path below a door of the page.
 *
 * @param {string} path
 * @returns {{room: string, participant: string | null} | null}
 */
export function placeOfPath(path) {
  const [, , first, second] = path.split('/');
  try {
    const room = roomName(decodeURIComponent(first ?? ''));
    const participant = second ? roomName(decodeURIComponent(second)) : null;
    return room === null || (second && participant === null) ? null : { room, participant };
  } catch {
    return null;
  }
}

/**
 * The address of a door, whether of the page or of the server.
 *
 * @param {string} door
 * @param {string} room
 * @param {string | null} participant
 */
export function addressOf(door, room, participant) {
  const path = [door, room, participant].filter(part => part !== null).map(encodeURIComponent);
  return `${location.origin}/${path.join('/')}`;
}
