// The list of everybody, with what they send, and what may be done about it.

import { strings } from '../strings.js';
import { h, icon, newId } from './dom.js';
import { isHandUp } from './hands.js';
import { hueOf, initialsOf } from './names.js';
import { Panel } from './panel.js';

/**
 * @import { Room } from '../room.js'
 * @import { Child } from './dom.js'
 */

const text = strings.people;

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {string} name as shown
 * @property {string} initials
 * @property {boolean | null} mic null if there is none
 * @property {boolean} camera
 * @property {boolean} sharing
 * @property {boolean} isHost
 * @property {boolean} isHandUp
 * @property {boolean} isSelf
 */

/** The panel beside the stage. */
export class People {
  #list = h('ul', { class: 'people-list', 'aria-label': text.inRoom });
  #watching = h('ul', { class: 'people-list' });
  #watchingHeading = h('h3', { id: newId() }, text.watching);
  #panel;
  #actions;
  /** @type {Map<string, {drawn: string, element: HTMLElement}>} what each row shows, by participant */
  #rows = new Map();

  /**
   * @param {object} options
   * @param {() => void} options.close
   * @param {HTMLElement} options.invite
   * @param {HTMLElement} options.hosts what is for hosts
   * @param {(row: Row) => Child[]} options.actions buttons of a row
   */
  constructor({ close, invite, hosts, actions }) {
    this.#actions = actions;
    this.#watching.setAttribute('aria-labelledby', this.#watchingHeading.id);
    this.#panel = new Panel(
      { name: 'people', closeLabel: text.close, close },
      h('div', { class: 'panel-body' }, this.#list, this.#watchingHeading, this.#watching),
      h('footer', { class: 'panel-footer' }, hosts, invite),
    );
    this.element = this.#panel.element;
  }

  get isOpen() {
    return this.#panel.isOpen;
  }

  /** @param {boolean} isOpen */
  toggle(isOpen) {
    this.#panel.toggle(isOpen);
  }

  /**
   * @param {Room} room
   * @param {string} ownName
   */
  update(room, ownName) {
    const rows = rowsOf(room, ownName);
    this.#panel.heading.textContent = text.count(rows.length);
    if (!this.isOpen) return;
    const active = rows.filter(row => row.mic !== null || row.camera || row.sharing);
    const watching = rows.filter(row => !active.includes(row));
    for (const id of this.#rows.keys()) if (!rows.some(row => row.id === id)) this.#rows.delete(id);
    const { admin } = room.roster.grants;
    this.#fill(this.#list, active, admin);
    this.#fill(this.#watching, watching, admin);
    this.#watchingHeading.hidden = watching.length === 0;
    for (const [id, { element }] of this.#rows) {
      element.classList.toggle('is-speaking', room.roster.speaker === id);
    }
  }

  /**
   * Rows that show the same stay the same elements, so that the focus stays where it is.
   *
   * @param {HTMLElement} list
   * @param {Row[]} rows
   * @param {boolean} isHost whether we are one: decides on the buttons
   */
  #fill(list, rows, isHost) {
    const elements = rows.map(row => {
      const drawn = JSON.stringify([row, isHost]);
      let known = this.#rows.get(row.id);
      if (known?.drawn !== drawn) {
        known = { drawn, element: rowElement(row, this.#actions(row)) };
        this.#rows.set(row.id, known);
      }
      return known.element;
    });
    if (
      elements.every((element, at) => list.children[at] === element) &&
      list.children.length === rows.length
    )
      return;
    list.replaceChildren(...elements);
  }
}

/**
 * Oneself first, then whose hands are up, then the others by name.
 *
 * @param {Room} room
 * @param {string} ownName
 * @returns {Row[]}
 */
function rowsOf({ roster, local }, ownName) {
  const microphone = local.get('microphone');
  const me = roster.participants.get(roster.me);
  const own = {
    id: roster.me,
    name: ownName ? strings.stage.youSuffix(ownName) : strings.stage.you,
    initials: initialsOf(ownName || strings.stage.you),
    mic: microphone ? Boolean(microphone.track) && !microphone.muted : null,
    camera: Boolean(local.get('camera')?.track),
    sharing: Boolean(local.get('screen')?.track),
    isHost: me?.role === 'host',
    isHandUp: isHandUp(me),
    isSelf: true,
  };
  const others = roster.others.map(person => {
    const { id, name, role } = person;
    const mic = roster.track(id, 'microphone');
    const camera = roster.track(id, 'camera');
    return {
      id,
      name: name || id,
      initials: initialsOf(name || id),
      mic: mic ? !mic.muted : null,
      camera: Boolean(camera && !camera.muted),
      sharing: Boolean(roster.track(id, 'screen')),
      isHost: role === 'host',
      isHandUp: isHandUp(person),
      isSelf: false,
    };
  });
  others.sort((a, b) => Number(b.isHandUp) - Number(a.isHandUp) || a.name.localeCompare(b.name));
  return [own, ...others];
}

/**
 * @param {Row} row
 * @param {Child[]} actions
 */
function rowElement({ id, name, initials, mic, camera, sharing, isHost, isHandUp: hand }, actions) {
  const avatar = h('span', { class: 'avatar', 'aria-hidden': 'true' }, initials);
  avatar.dataset.hue = String(hueOf(id));
  const signs = [
    hand && sign('hand', strings.reactions.hand),
    sharing && sign('screen', text.sharing),
    camera && sign('camera', text.camera.on),
    mic !== null && sign(mic ? 'mic' : 'mic-off', mic ? text.mic.on : text.mic.off),
  ];
  return h(
    'li',
    { class: 'person' },
    avatar,
    h(
      'span',
      { class: 'person-name' },
      h('bdi', {}, name),
      isHost && h('span', { class: 'role' }, strings.moderation.host),
    ),
    ...signs,
    ...actions,
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
