// The controls of the call.

import { canShareScreen } from '../media.js';
import { strings } from '../strings.js';
import { h, icon, iconButton, setIcon, setLabel } from './dom.js';
import { menuButton } from './menus.js';

const text = strings.bar;

/**
 * @typedef {object} ToolbarState
 * @property {boolean} canSend whether there is anything of one's own: not when just watching
 * @property {boolean} micOn
 * @property {boolean} cameraOn
 * @property {boolean} sharing
 * @property {'grid' | 'focus'} layout
 * @property {number} people
 * @property {boolean} handUp
 * @property {number} unread messages
 *
 * @typedef {object} ToolbarActions
 * @property {() => void} microphone
 * @property {() => void} camera
 * @property {() => void} share
 * @property {() => void} layout
 * @property {() => void} people
 * @property {() => void} chat
 * @property {() => void} hand
 * @property {() => void} leave
 */

/** The bar at the foot of the call. */
export class Toolbar {
  #mic;
  #camera;
  #share;
  #layout;
  #people;
  #chat;
  #hand;
  #count = h('span', { class: 'count', 'aria-hidden': 'true' });
  #unread = h('span', { class: 'count is-new', 'aria-hidden': 'true' });
  #own;

  /**
   * @param {ToolbarActions} actions
   * @param {{audio: HTMLElement, camera: HTMLElement, react: HTMLElement, more: HTMLElement}} menus
   */
  constructor(actions, menus) {
    this.#mic = iconButton({ icon: 'mic', label: '', class: 'bar-button', onclick: actions.microphone });
    this.#camera = iconButton({ icon: 'camera', label: '', class: 'bar-button', onclick: actions.camera });
    this.#share = iconButton({
      icon: 'screen',
      label: '',
      class: 'bar-button bar-share',
      onclick: actions.share,
    });
    this.#layout = iconButton({
      icon: 'focus',
      label: '',
      class: 'bar-button bar-layout',
      onclick: actions.layout,
    });
    this.#people = iconButton({ icon: 'people', label: '', class: 'bar-button', onclick: actions.people });
    this.#people.append(this.#count);
    this.#chat = iconButton({ icon: 'chat', label: '', class: 'bar-button', onclick: actions.chat });
    this.#chat.append(this.#unread);
    this.#hand = iconButton({ icon: 'hand', label: '', class: 'bar-button bar-hand', onclick: actions.hand });
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
    const react = menuButton('smile', text.react, menus.react);
    react.classList.add('bar-button');
    const speech = [this.#hand, react, menus.react, this.#chat];
    const view = h('div', { class: 'bar-group' }, ...speech, this.#people, this.#layout, more, menus.more);
    this.element = h(
      'div',
      { class: 'bar', role: 'group', 'aria-label': text.label },
      this.#own,
      view,
      leave,
    );
  }

  /**
   * Gives the focus back to the button that opened a panel.
   *
   * @param {'people' | 'chat'} panel
   */
  focus(panel) {
    (panel === 'chat' ? this.#chat : this.#people).focus();
  }

  /** @param {ToolbarState} state */
  update({ canSend, micOn, cameraOn, sharing, layout, people, handUp, unread }) {
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
    setLabel(this.#chat, unread > 0 ? text.chatUnread(unread) : text.chat, 'C');
    this.#unread.textContent = String(unread);
    this.#unread.hidden = unread === 0;
    setLabel(this.#hand, handUp ? text.lowerHand : text.raiseHand, 'H');
    this.#hand.classList.toggle('is-active', handUp);
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
