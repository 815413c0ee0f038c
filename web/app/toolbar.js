// The controls of the call.

import { canShareScreen } from '../media.js';
import { strings } from '../strings.js';
import { h, icon, iconButton, setIcon, setLabel } from './dom.js';

const text = strings.bar;

/**
 * @typedef {object} ToolbarState
 * @property {boolean} canSend whether there is anything of one's own: not when just watching
 * @property {boolean} micOn
 * @property {boolean} cameraOn
 * @property {boolean} sharing
 * @property {'grid' | 'focus'} layout
 * @property {number} people
 *
 * @typedef {object} ToolbarActions
 * @property {() => void} microphone
 * @property {() => void} camera
 * @property {() => void} share
 * @property {() => void} layout
 * @property {() => void} people
 * @property {() => void} leave
 */

/** The bar at the foot of the call. */
export class Toolbar {
  #mic;
  #camera;
  #share;
  #layout;
  #people;
  #count = h('span', { class: 'count', 'aria-hidden': 'true' });
  #own;

  /**
   * @param {ToolbarActions} actions
   * @param {{audio: HTMLElement, camera: HTMLElement, more: HTMLElement}} menus
   */
  constructor(actions, menus) {
    this.#mic = iconButton({ icon: 'mic', label: '', class: 'bar-button', onclick: actions.microphone });
    this.#camera = iconButton({ icon: 'camera', label: '', class: 'bar-button', onclick: actions.camera });
    this.#share = iconButton({ icon: 'screen', label: '', class: 'bar-button', onclick: actions.share });
    this.#layout = iconButton({
      icon: 'focus',
      label: '',
      class: 'bar-button bar-layout',
      onclick: actions.layout,
    });
    this.#people = iconButton({ icon: 'people', label: '', class: 'bar-button', onclick: actions.people });
    this.#people.append(this.#count);
    const leave = h(
      'button',
      { type: 'button', class: 'bar-button leave', onclick: actions.leave },
      icon('leave'),
      h('span', { class: 'leave-label' }, text.leave),
    );
    this.#own = h(
      'div',
      { class: 'bar-group' },
      split(this.#mic, menuButton('up', text.audioMenu, menus.audio), menus.audio),
      split(this.#camera, menuButton('up', text.cameraMenu, menus.camera), menus.camera),
      canShareScreen() && this.#share,
    );
    const more = menuButton('more', text.more, menus.more);
    more.classList.add('bar-button');
    const view = h('div', { class: 'bar-group' }, this.#layout, this.#people, more, menus.more);
    this.element = h(
      'div',
      { class: 'bar', role: 'group', 'aria-label': text.label },
      this.#own,
      view,
      leave,
    );
  }

  /** Gives the focus back to the button that opened the list of people. */
  focusPeople() {
    this.#people.focus();
  }

  /** @param {ToolbarState} state */
  update({ canSend, micOn, cameraOn, sharing, layout, people }) {
    this.#own.hidden = !canSend;
    drawSwitch(this.#mic, micOn, ['mic', 'mic-off'], [text.mute, text.unmute], 'M');
    drawSwitch(this.#camera, cameraOn, ['camera', 'camera-off'], [text.cameraOff, text.cameraOn], 'V');
    drawSwitch(this.#share, !sharing, ['screen', 'screen-off'], [text.share, text.stopShare], 'S');
    this.#share.classList.toggle('is-off', false);
    this.#share.classList.toggle('is-active', sharing);
    const isGrid = layout === 'grid';
    drawSwitch(this.#layout, isGrid, ['focus', 'grid'], [text.focus, text.grid], 'L');
    this.#layout.classList.toggle('is-off', false);
    setLabel(this.#people, strings.people.count(people), 'P');
    this.#count.textContent = String(people);
  }
}

/**
 * @param {HTMLElement} button
 * @param {boolean} isOn
 * @param {[string, string]} icons when on, when off
 * @param {[string, string]} labels when on, when off
 * @param {string} key
 */
function drawSwitch(button, isOn, icons, labels, key) {
  button.classList.toggle('is-off', !isOn);
  setLabel(button, labels[isOn ? 0 : 1], key);
  const [svg] = button.children;
  if (svg) setIcon(svg, icons[isOn ? 0 : 1]);
}

/**
 * A button with a smaller one beside it that opens a menu.
 *
 * @param {HTMLElement} button
 * @param {HTMLElement} opener
 * @param {HTMLElement} menu
 */
const split = (button, opener, menu) => h('div', { class: 'split' }, button, opener, menu);

/**
 * @param {string} name
 * @param {string} label
 * @param {HTMLElement} menu
 */
function menuButton(name, label, menu) {
  const opener = iconButton({
    icon: name,
    label,
    class: 'opener',
    onclick: () => {
      menu.togglePopover();
      placeAbove(menu, opener);
    },
  });
  opener.setAttribute('aria-haspopup', 'dialog');
  opener.setAttribute('aria-expanded', 'false');
  menu.addEventListener('toggle', event => {
    const isOpen = /** @type {ToggleEvent} */ (event).newState === 'open';
    opener.setAttribute('aria-expanded', String(isOpen));
    const focusable = menu.querySelector('button, select, input');
    if (isOpen && focusable instanceof HTMLElement) focusable.focus();
  });
  return opener;
}

/** Between a menu and the edge of the window. */
const MARGIN = 12;

/**
 * A menu that opens above a button, inside the window.
 *
 * @param {HTMLElement} menu
 * @param {HTMLElement} button
 */
function placeAbove(menu, button) {
  const at = button.getBoundingClientRect();
  const { offsetWidth } = menu;
  const centred = at.left + at.width / 2 - offsetWidth / 2;
  const left = Math.max(MARGIN, Math.min(innerWidth - offsetWidth - MARGIN, centred));
  menu.style.setProperty('left', `${left}px`);
  menu.style.setProperty('bottom', `${innerHeight - at.top + MARGIN}px`);
}

/**
 * A menu: closes by itself on Escape and on a click elsewhere.
 *
 * @param {string} label
 * @param {...import('./dom.js').Child} children
 */
export const menu = (label, ...children) =>
  h('div', { class: 'menu', popover: 'auto', role: 'dialog', 'aria-label': label }, ...children);

/**
 * A line of a menu; the menu closes after it.
 *
 * @param {{icon: string, label: string, key?: string, class?: string, onclick: () => void}} options
 */
export function menuItem({ icon: name, label, key, class: classes = '', onclick }) {
  const item = h(
    'button',
    {
      type: 'button',
      class: `menu-item ${classes}`,
      onclick: () => {
        /** @type {HTMLElement | null} */ (item.closest('[popover]'))?.hidePopover();
        onclick();
      },
    },
    icon(name),
    h('span', {}, label),
    key && h('kbd', {}, key),
  );
  return item;
}
