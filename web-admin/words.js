// Numbers and states as people say them, and from where on they are bad.

/** Loss from which on somebody notices, before repair. */
export const BAD_LOSS = 0.05;

/** A queue that is heard as delay. */
export const BAD_QUEUE_SECONDS = 0.1;

/** A wait for a picture that is too long. */
export const BAD_WAIT_SECONDS = 2;

/** A round trip at which people begin to talk at the same time. */
export const BAD_ROUND_TRIP_SECONDS = 0.4;

/** @typedef {number | null | undefined} Maybe */

/** @param {Maybe} ratio */
export const percent = ratio =>
  ratio == null ? '' : `${(ratio * 100).toFixed(ratio >= 0.0005 && ratio < 0.0995 ? 1 : 0)}\u00a0%`;

/** @param {Maybe} seconds */
export const milliseconds = seconds => (seconds == null ? '' : `${Math.round(seconds * 1000)}\u00a0ms`);

/** @param {number} bits */
export const rate = bits =>
  bits < 1e6 ? `${Math.round(bits / 1000)}\u00a0kbit/s` : `${(bits / 1e6).toFixed(1)}\u00a0Mbit/s`;

/** @param {Maybe} bytes */
export const size = bytes =>
  bytes == null
    ? ''
    : bytes < 2 ** 30
      ? `${Math.round(bytes / 2 ** 20)}\u00a0MiB`
      : `${(bytes / 2 ** 30).toFixed(1)}\u00a0GiB`;

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/**
 * A duration.
 *
 * @param {number} seconds
 */
export function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)}\u00a0s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}\u00a0min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)}\u00a0h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** @type {Record<string, string>} */
const DOORS = { meet: 'in the meeting', publish: 'publishes', watch: 'watches' };

/** @param {string} door */
export const doing = door => DOORS[door] ?? door;

/** @type {Record<string, string>} */
const SOURCES = {
  microphone: 'microphone',
  camera: 'camera',
  screen: 'screen',
  'screen-audio': 'sound of the screen',
};

/** @param {string} source */
export const shown = source => SOURCES[source] ?? source;

/** What is going on on a path (`plenum_paths`). @type {Record<string, string>} */
const PATHS = {
  unknown: 'nothing heard yet',
  free: 'no limit met',
  limited: 'its limit is known',
  draining: 'a queue is emptied',
  doubted: 'less is sent, to see whether losses obey',
  silent: 'no feedback for a second',
};

/** @param {string} state */
export const going = state => PATHS[state] ?? state;

/** Why nobody new is taken (`/readyz`). @type {Record<string, string>} */
const REFUSALS = {
  draining: 'The server goes away',
  load: 'Its processor is used up',
  memory: 'Its memory is used up',
};

/** @param {string | null} why */
export const taking = why => (why ? (REFUSALS[why] ?? why) : 'Nobody is refused');
