// Which slot is to show which track.

/**
 * What the page wants to see.
 *
 * @typedef {object} Wish
 * @property {string} track
 * @property {number} width device pixels
 * @property {number} height device pixels
 * @property {number} [priority] 0 to 255; what is given up last has the highest
 */

/**
 * Gives each wished track a slot. A track keeps the slot it had, so that paging back and forth
 * or a new order of tiles moves no picture and costs no keyframe.
 *
 * @param {Wish[]} wishes the most wanted first
 * @param {string[]} mids of the video slots there are
 * @param {Map<string, string>} before slot to track, as it was
 * @returns {Map<string, Wish>} slot to wish; what finds no slot is left out
 */
export function assignSlots(wishes, mids, before) {
  const seated = wishes.slice(0, mids.length);
  const wanted = new Map(seated.map(wish => [wish.track, wish]));
  /** @type {Map<string, Wish>} */
  const assigned = new Map();
  for (const mid of mids) {
    const wish = wanted.get(before.get(mid) ?? '');
    if (!wish) continue;
    assigned.set(mid, wish);
    wanted.delete(wish.track);
  }
  const free = mids.filter(mid => !assigned.has(mid));
  for (const wish of wanted.values()) {
    const mid = free.shift();
    if (mid !== undefined) assigned.set(mid, wish);
  }
  return assigned;
}

/**
 * The body of `PUT subscriptions`. Audio slots hear the loudest; a video slot nobody wants shows nothing.
 *
 * @param {Map<string, Wish>} assigned
 * @param {string[]} videoMids
 * @param {string[]} audioMids
 */
export function wishDocument(assigned, videoMids, audioMids) {
  /** @type {Record<string, object | 'auto' | null>} */
  const slots = {};
  for (const mid of videoMids) slots[mid] = assigned.get(mid) ?? null;
  for (const mid of audioMids) slots[mid] = 'auto';
  return { slots, rest: null };
}
