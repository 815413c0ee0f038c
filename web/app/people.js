// The list of everybody, with what they send.

import { strings } from '../strings.js';
import { h, icon, iconButton, newId } from './dom.js';
import { hueOf, initialsOf } from './names.js';

/** @import { Room } from '../room.js' */

const text = strings.people;

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {string} name as shown
 * @property {string} initials
 * @property {boolean | null} mic null if there is none
 * @property {boolean} camera
 * @property {boolean} sharing
 * @property {boolean} isSpeaking
 */

/** The panel beside the stage. */
export class People {
  #list = h('ul', { class: 'people-list' });
  #watching = h('ul', { class: 'people-list' });
  #watchingHeading = h('h3', {}, text.watching);
  // Focus goes here when the panel opens: what is read out then is how many people there are.
  #heading = h('h2', { id: newId(), tabIndex: -1 });

  /** @param {{close: () => void, invite: HTMLElement}} options */
  constructor({ close, invite }) {
    const closeButton = iconButton({ icon: 'close', label: text.close, onclick: close });
    this.element = h(
      'aside',
      { class: 'panel', 'aria-labelledby': this.#heading.id, hidden: true },
      h('header', { class: 'panel-header' }, this.#heading, closeButton),
      h('div', { class: 'panel-body' }, this.#list, this.#watchingHeading, this.#watching),
      h('footer', { class: 'panel-footer' }, invite),
    );
  }

  get isOpen() {
    return !this.element.hidden;
  }

  /** @param {boolean} isOpen */
  toggle(isOpen) {
    this.element.hidden = !isOpen;
    if (isOpen) this.#heading.focus();
  }

  /**
   * @param {Room} room
   * @param {string} ownName
   */
  update(room, ownName) {
    const rows = rowsOf(room, ownName);
    this.#heading.textContent = text.count(rows.length);
    if (!this.isOpen) return;
    const active = rows.filter(row => row.mic !== null || row.camera || row.sharing);
    const watching = rows.filter(row => !active.includes(row));
    this.#list.replaceChildren(...active.map(rowElement));
    this.#watching.replaceChildren(...watching.map(rowElement));
    this.#watchingHeading.hidden = watching.length === 0;
  }
}

/**
 * Oneself first, then the others by name.
 *
 * @param {Room} room
 * @param {string} ownName
 * @returns {Row[]}
 */
function rowsOf({ roster, local }, ownName) {
  const microphone = local.get('microphone');
  const own = {
    id: roster.me,
    name: ownName ? strings.stage.youSuffix(ownName) : strings.stage.you,
    initials: initialsOf(ownName || strings.stage.you),
    mic: microphone ? Boolean(microphone.track) && !microphone.muted : null,
    camera: Boolean(local.get('camera')?.track),
    sharing: Boolean(local.get('screen')?.track),
    isSpeaking: roster.speaker === roster.me,
  };
  const others = roster.others.map(({ id, name }) => {
    const mic = roster.track(id, 'microphone');
    const camera = roster.track(id, 'camera');
    return {
      id,
      name: name || id,
      initials: initialsOf(name || id),
      mic: mic ? !mic.muted : null,
      camera: Boolean(camera && !camera.muted),
      sharing: Boolean(roster.track(id, 'screen')),
      isSpeaking: roster.speaker === id,
    };
  });
  return [own, ...others.sort((a, b) => a.name.localeCompare(b.name))];
}

/** @param {Row} row */
function rowElement({ id, name, initials, mic, camera, sharing, isSpeaking }) {
  const avatar = h('span', { class: 'avatar', 'aria-hidden': 'true' }, initials);
  avatar.dataset.hue = String(hueOf(id));
  const signs = [
    sharing && sign('screen', text.sharing),
    camera && sign('camera', text.camera.on),
    mic !== null && sign(mic ? 'mic' : 'mic-off', mic ? text.mic.on : text.mic.off),
  ];
  return h(
    'li',
    { class: isSpeaking ? 'person is-speaking' : 'person' },
    avatar,
    h('span', { class: 'person-name' }, name),
    ...signs,
  );
}

/**
 * @param {string} name
 * @param {string} label
 */
const sign = (name, label) =>
  h(
    'span',
    { class: `sign sign-${name}`, title: label },
    icon(name),
    h('span', { class: 'only-spoken' }, label),
  );
