// Addresses in what people write, made into links.

import { h } from './dom.js';

/** What begins like an address of the web and goes on without a space. */
const ADDRESS = /https?:\/\/[^\s<>"]+/g;
/** What ends a sentence, and not an address. */
const AFTERMATH = /[.,;:!?'"\u2019\u201d\u00bb]+$/;

/**
 * The parts of a text: what is between addresses, and the addresses.
 *
 * @param {string} words
 * @returns {{text: string, href: string | null}[]}
 */
export function partsOf(words) {
  /** @type {{text: string, href: string | null}[]} */
  const parts = [];
  let end = 0;
  for (const match of words.matchAll(ADDRESS)) {
    const address = trimmed(match[0]);
    if (!URL.canParse(address)) continue;
    if (match.index > end) parts.push({ text: words.slice(end, match.index), href: null });
    parts.push({ text: address, href: new URL(address).href });
    end = match.index + address.length;
  }
  if (end < words.length) parts.push({ text: words.slice(end), href: null });
  return parts;
}

/**
 * The same as nodes. Links open beside the call, and tell the other site nothing of it.
 *
 * @param {string} words
 */
export function linked(words) {
  return partsOf(words).map(({ text, href }) =>
    href === null ? text : h('a', { href, target: '_blank', rel: 'noopener noreferrer' }, text),
  );
}

/**
 * An address without the punctuation after it; a bracket stays if it was opened inside.
 *
 * @param {string} found
 */
function trimmed(found) {
  let address = found.replace(AFTERMATH, '');
  while (address.endsWith(')') && !address.includes('(')) {
    address = address.slice(0, -1).replace(AFTERMATH, '');
  }
  return address;
}
