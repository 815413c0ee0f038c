// The keyboard: one key for each thing, and a sheet that lists them.

import { strings } from '../strings.js';
import { toggle } from './devices.js';
import { h, iconButton } from './dom.js';
import { prefs, remember } from './prefs.js';

const text = strings.shortcuts;

/**
 * @typedef {object} Actions
 * @property {() => void} microphone
 * @property {(isHeld: boolean) => void} talk
 * @property {() => void} camera
 * @property {() => void} share
 * @property {() => void} layout
 * @property {() => void} people
 * @property {() => void} chat
 * @property {() => void} hand
 * @property {(by: number) => void} page
 * @property {() => void} fullScreen
 * @property {() => void} stats
 */

/** @type {[string, string][]} */
const SHEET = [
  ['M', text.microphone],
  [text.space, text.talk],
  ['V', text.camera],
  ['S', text.share],
  ['L', text.layout],
  ['P', text.people],
  ['C', text.chat],
  ['H', text.hand],
  ['← →', text.page],
  ['F', text.fullScreen],
  ['I', text.stats],
  ['?', text.help],
];

/** Listens to the keyboard while the call is on the page. */
export class Shortcuts {
  #actions;
  #isTalking = false;
  #onDown = (/** @type {KeyboardEvent} */ event) => this.#down(event);
  #onUp = (/** @type {KeyboardEvent} */ event) => this.#up(event);
  #onBlur = () => this.#stopTalking();

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.element = this.#sheet();
    document.addEventListener('keydown', this.#onDown);
    document.addEventListener('keyup', this.#onUp);
    addEventListener('blur', this.#onBlur);
  }

  /** Shows the sheet. */
  help() {
    if (!this.element.open) this.element.showModal();
  }

  close() {
    document.removeEventListener('keydown', this.#onDown);
    document.removeEventListener('keyup', this.#onUp);
    removeEventListener('blur', this.#onBlur);
  }

  #sheet() {
    const rows = SHEET.map(([key, what]) => h('div', {}, h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)));
    /** @type {HTMLDialogElement} */
    const dialog = h(
      'dialog',
      { class: 'sheet', 'aria-label': text.heading },
      h(
        'header',
        { class: 'panel-header' },
        h('h2', {}, text.heading),
        iconButton({ icon: 'close', label: text.close, onclick: () => dialog.close() }),
      ),
      h('dl', {}, ...rows),
      // Keys without a modifier can be in the way of voice control (WCAG 2.1.4).
      toggle(text.enable, prefs.shortcuts, shortcuts => remember({ shortcuts })),
    );
    dialog.addEventListener('click', event => {
      if (event.target === dialog) dialog.close();
    });
    return dialog;
  }

  /** @param {KeyboardEvent} event */
  #down(event) {
    if (event.key === '?' && !isTyping(event)) return this.help();
    const isModified = event.ctrlKey || event.metaKey || event.altKey;
    if (!prefs.shortcuts || isModified || isTyping(event) || this.element.open) return;
    if (event.key === ' ') {
      // A focused button is pressed by the space bar; that stays so.
      if (event.target instanceof Element && event.target.closest('button, a, summary')) return;
      event.preventDefault();
      if (!event.repeat && !this.#isTalking) {
        this.#isTalking = true;
        this.#actions.talk(true);
      }
      return;
    }
    if (event.repeat) return;
    const action = this.#actionFor(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** @param {string} key */
  #actionFor(key) {
    const actions = this.#actions;
    const forward = document.dir === 'rtl' ? -1 : 1;
    /** @type {Record<string, () => void>} */
    const byKey = {
      m: actions.microphone,
      v: actions.camera,
      s: actions.share,
      l: actions.layout,
      p: actions.people,
      c: actions.chat,
      h: actions.hand,
      f: actions.fullScreen,
      i: actions.stats,
      arrowleft: () => actions.page(-forward),
      arrowright: () => actions.page(forward),
    };
    return byKey[key.toLowerCase()];
  }

  /** @param {KeyboardEvent} event */
  #up(event) {
    if (event.key === ' ') this.#stopTalking();
  }

  #stopTalking() {
    if (!this.#isTalking) return;
    this.#isTalking = false;
    this.#actions.talk(false);
  }
}

/** @param {KeyboardEvent} event */
function isTyping({ target }) {
  return target instanceof Element && target.closest('input:not([type=checkbox]), select, textarea') !== null;
}
