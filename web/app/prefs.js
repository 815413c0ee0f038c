// What this browser remembers of a person's choices.

const KEY = 'plenum';
/** So many rooms are offered again on the front page. */
const RECENT_ROOMS = 4;

/**
 * @typedef {object} Prefs
 * @property {string} name
 * @property {boolean} mic
 * @property {boolean} camera
 * @property {string} microphoneId
 * @property {string} cameraId
 * @property {string} speakerId
 * @property {boolean} mirror
 * @property {'grid' | 'focus'} layout
 * @property {boolean} shortcuts
 * @property {'full' | 'audio' | 'watch'} mode
 * @property {'all' | 'low' | 'none'} receive pictures of others
 * @property {'high' | 'medium' | 'low'} send our picture
 * @property {string} codec of our picture, as `VP9`; empty for the browser's choice
 * @property {string[]} recent
 */

/** @type {Prefs} */
const DEFAULTS = {
  name: '',
  mic: true,
  camera: true,
  microphoneId: '',
  cameraId: '',
  speakerId: '',
  mirror: true,
  layout: 'grid',
  shortcuts: true,
  mode: 'full',
  receive: 'all',
  send: 'high',
  codec: '',
  recent: [],
};

/** @returns {Prefs} */
function load() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) ?? '{}') };
  } catch {
    // Storage may be forbidden, or hold what an older page wrote: start afresh.
    return { ...DEFAULTS };
  }
}

export const prefs = load();

/** @param {Partial<Prefs>} changes */
export function remember(changes) {
  Object.assign(prefs, changes);
  try {
    localStorage.setItem(KEY, JSON.stringify(prefs));
  } catch {
    // Then it is remembered until the page closes.
  }
}

/** @param {string} room */
export function rememberRoom(room) {
  remember({ recent: [room, ...prefs.recent.filter(other => other !== room)].slice(0, RECENT_ROOMS) });
}
