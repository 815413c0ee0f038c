// What the page says without being asked: a banner for as long as something is wrong, and
// notes that go away. Both are read out by screen readers.

import { h, icon } from './dom.js';

/** How long a note stays: a short sentence, read twice. */
const NOTE_MS = 3500;
/** More notes than this at once are in the way. */
const MOST_NOTES = 3;

const notes = h('div', { class: 'notes', role: 'status', 'aria-live': 'polite' });
const banner = h('div', { class: 'banner', role: 'alert', hidden: true });
const spoken = h('div', { class: 'only-spoken', role: 'status', 'aria-live': 'polite' });

/** Puts them into the page. */
export function mountNotices() {
  document.getElementById('notices')?.append(banner, notes, spoken);
}

/**
 * Shows a sentence for a moment.
 *
 * @param {string} text
 */
export function note(text) {
  const element = h('p', { class: 'note' }, text);
  notes.append(element);
  while (notes.children.length > MOST_NOTES) notes.firstElementChild?.remove();
  setTimeout(() => element.remove(), NOTE_MS);
}

/**
 * Tells only those who listen: what the others see for themselves.
 *
 * @param {string} text
 */
export function say(text) {
  spoken.textContent = text;
}

/**
 * Shows a banner until it is replaced or taken away with null.
 *
 * @param {{text: string, busy?: boolean, action?: {label: string, onclick: () => void}} | null} content
 */
export function showBanner(content) {
  banner.hidden = content === null;
  if (!content) {
    banner.replaceChildren();
    return;
  }
  const { text, busy, action } = content;
  const sign = busy ? h('span', { class: 'spinner', 'aria-hidden': 'true' }) : icon('warning');
  banner.replaceChildren(sign, h('span', {}, text));
  if (action) {
    banner.append(h('button', { type: 'button', class: 'plain', onclick: action.onclick }, action.label));
  }
}
