// Who gets a tile, and in which order. No DOM in here.

import { strings } from '../strings.js';
import { isHandUp } from './hands.js';

/**
 * @import { Room } from '../room.js'
 *
 * @typedef {object} Seat one tile: a person, or a screen
 * @property {string} key
 * @property {string} participant
 * @property {string} name as shown
 * @property {string} hueOf what its colour is made of
 * @property {boolean} isSelf
 * @property {boolean} isScreen
 * @property {string | null} track the published video track to ask for
 * @property {MediaStreamTrack | null} local our own picture
 * @property {boolean} isMuted
 * @property {boolean} isHandUp
 * @property {boolean} isSealed whether they send what cannot be decrypted here
 */

/**
 * What there is to show. People who only watch have no seat; they are in the list of people.
 *
 * @param {Room} room
 * @param {string} ownName
 * @returns {Seat[]}
 */
export function seatsOf(room, ownName) {
  const { roster } = room;
  /** @type {Seat[]} */
  const seats = [];
  for (const person of roster.others) {
    const { id, name } = person;
    const screen = roster.track(id, 'screen');
    const camera = roster.track(id, 'camera');
    const microphone = roster.track(id, 'microphone');
    const shown = name || id;
    const isSealed = room.cannotRead(id);
    // Without a passphrase there is no use in asking for it.
    const canAsk = room.encryption !== null || !isSealed;
    if (screen) {
      const key = `${id}/screen`;
      const screenName = strings.stage.screenOf(shown);
      seats.push({
        ...remote(id, screenName, key),
        isScreen: true,
        track: canAsk ? screen.id : null,
        isSealed,
      });
    }
    if (!camera && !microphone) continue;
    const track = camera && !camera.muted && canAsk ? camera.id : null;
    const isMuted = microphone?.muted ?? true;
    seats.push({ ...remote(id, shown, id), track, isMuted, isHandUp: isHandUp(person), isSealed });
  }
  return [...seats, ...ownSeats(room, ownName)];
}

/**
 * @param {string} participant
 * @param {string} name
 * @param {string} key
 * @returns {Seat}
 */
function remote(participant, name, key) {
  return {
    key,
    participant,
    name,
    hueOf: participant,
    isSelf: false,
    isScreen: false,
    track: null,
    local: null,
    isMuted: false,
    isHandUp: false,
    isSealed: false,
  };
}

/**
 * @param {Room} room
 * @param {string} ownName
 * @returns {Seat[]}
 */
function ownSeats(room, ownName) {
  const microphone = room.local.get('microphone');
  const camera = room.local.get('camera');
  const screen = room.local.get('screen');
  const own = { ...remote(room.roster.me, '', ''), isSelf: true };
  /** @type {Seat[]} */
  const seats = [];
  if (screen?.track) {
    const name = strings.stage.yourScreen;
    seats.push({ ...own, key: 'self/screen', name, isScreen: true, local: screen.track });
  }
  if (microphone || camera) {
    const name = ownName ? strings.stage.youSuffix(ownName) : strings.stage.you;
    const isMuted = !microphone?.track || microphone.muted;
    const isUp = isHandUp(room.roster.participants.get(room.roster.me));
    seats.push({ ...own, key: 'self', name, local: camera?.track ?? null, isMuted, isHandUp: isUp });
  }
  return seats;
}

/**
 * An order of seats that changes only when it must: people keep their place while others come,
 * go and speak. Who speaks from a later page changes places with whoever on the first page was
 * silent longest.
 */
export class SeatOrder {
  /** @type {string[]} */
  #keys = [];
  /** @type {Map<string, number>} when somebody last spoke, as a count of turns */
  #spoke = new Map();
  #turn = 0;

  /**
   * @param {string} key
   * @param {string[]} firstPage who is on it and may be moved; nobody, before anything was drawn
   */
  spoke(key, firstPage) {
    this.#turn += 1;
    this.#spoke.set(key, this.#turn);
    if (firstPage.includes(key)) return;
    const seated = firstPage.filter(other => this.#keys.includes(other));
    const quietest = (seated.length > 0 ? seated : this.#keys).reduce((a, b) =>
      (this.#spoke.get(b) ?? 0) < (this.#spoke.get(a) ?? 0) ? b : a,
    );
    const at = this.#keys.indexOf(key);
    this.#keys[this.#keys.indexOf(quietest)] = key;
    this.#keys[at] = quietest;
  }

  /**
   * Screens first, then people in their order.
   *
   * @param {Seat[]} seats
   * @returns {Seat[]}
   */
  sort(seats) {
    const byKey = new Map(seats.map(seat => [seat.key, seat]));
    const known = this.#keys.filter(key => byKey.has(key));
    const isNew = seats.filter(({ key }) => !known.includes(key)).map(({ key }) => key);
    this.#keys = [...known, ...isNew];
    for (const key of this.#spoke.keys()) if (!byKey.has(key)) this.#spoke.delete(key);
    const sorted = this.#keys.flatMap(key => byKey.get(key) ?? []);
    return [...sorted.filter(seat => seat.isScreen), ...sorted.filter(seat => !seat.isScreen)];
  }
}
