// Names of rooms.

const FIRST = (
  'amber brisk calm candid clever copper coral cosy dapper early fair fern gentle golden ' +
  'happy hazel honest ivory keen kind light lively lucky maple mellow merry misty noble ' +
  'olive open pearl plum proud quick quiet ready rosy sage silver sunny swift tidy topaz vivid warm wise'
).split(' ');
const SECOND = (
  'agora atrium attic balcony bay bench bridge brook cabin chapel cloister corner court cove ' +
  'dome garden gallery grove hall harbour hearth hill island kiosk lagoon lantern library loft market ' +
  'meadow mill oasis orchard parlour pavilion pier plaza porch quay river rotunda spire summit terrace tower valley'
).split(' ');
/** Without those that are read wrong aloud or on paper. */
const LETTERS = '23456789abcdefghjkmnpqrstuvwxyz';

/**
 * A name that is pleasant to say. The last part is there so that it is not guessed: five
 * characters and two words make 36 bits.
 */
export function suggestRoom() {
  const tail = Array.from({ length: 5 }, () => pick([...LETTERS])).join('');
  return `${pick(FIRST)}-${pick(SECOND)}-${tail}`;
}

/**
 * What was typed, as a name that the server takes (1 to 64 of letters, digits, `-_.~`), or null.
 *
 * @param {string} typed
 */
export function roomName(typed) {
  const plain = typed.trim().normalize('NFKD').replace(/\s+/g, '-');
  const name = plain.replace(/[^A-Za-z0-9\-_.~]/g, '').slice(0, 64);
  // Names of nothing but dots mean something else in a path.
  return /[A-Za-z0-9]/.test(name) ? name : null;
}

/**
 * The room that an address names, or null.
 *
 * @param {string} path
 */
export function roomOfPath(path) {
  const encoded = /^\/r\/([^/]+)\/?$/.exec(path)?.[1];
  if (!encoded) return null;
  try {
    return roomName(decodeURIComponent(encoded));
  } catch {
    return null;
  }
}

/** @param {string[]} words */
function pick(words) {
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  return words[random % words.length];
}

/** So many hues of avatars there are in the style sheet. */
const HUES = 8;

/**
 * A participant's colour: the same for all who see them.
 *
 * @param {string} id
 */
export function hueOf(id) {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return hash % HUES;
}

/** @param {string} name */
export function initialsOf(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map(word => [...word][0]?.toLocaleUpperCase() ?? '').join('');
}
