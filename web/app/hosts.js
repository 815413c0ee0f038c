// What those see who may look after the room: buttons beside people, and for the room as a whole.

import { strings } from '../strings.js';
import { toggle } from './devices.js';
import { h, icon } from './dom.js';
import { menu, menuButton, menuItem } from './menus.js';
import { note } from './notices.js';

/**
 * @import { Room } from '../room.js'
 * @import { Source } from '../roster.js'
 * @import { Row } from './people.js'
 */

const text = strings.moderation;

/** The tools of hosts; hidden from all others. */
export class Hosts {
  #room;
  #writeTo;
  #lock;
  element;

  /**
   * @param {{room: Room, writeTo: (participant: string) => void}} options
   */
  constructor({ room, writeTo }) {
    this.#room = room;
    this.#writeTo = writeTo;
    const { element: lock, box } = lockToggle(locked => this.#do(() => room.moderation.lock(locked)));
    this.#lock = box;
    this.element = h(
      'section',
      { class: 'hosts', 'aria-label': text.heading, hidden: true },
      lock,
      h(
        'div',
        { class: 'hosts-row' },
        this.#button(text.muteAll, () => this.#muteAll()),
        this.#endButton(),
      ),
    );
  }

  /** The room changed, or what we may do in it. */
  update() {
    this.element.hidden = !this.#room.roster.grants.admin;
    this.#lock.checked = this.#room.roster.isLocked;
  }

  /**
   * A menu for somebody's row: what anybody may do, and what hosts may.
   *
   * @param {Row} row
   */
  actions(row) {
    if (row.isSelf) return [];
    const { roster } = this.#room;
    const write = menuItem({
      icon: 'chat',
      label: strings.chat.write(row.name),
      onclick: () => this.#writeTo(row.id),
    });
    const items = roster.grants.admin ? this.#hostItems(row) : [];
    const all = menu(text.more(row.name), write, ...items);
    const opener = menuButton('more', text.more(row.name), all);
    opener.classList.add('person-more');
    return [opener, all];
  }

  /** @param {Row} row */
  #hostItems({ id, name, mic, camera, sharing }) {
    /** @param {string} label @param {string} sign @param {Source[]} sources */
    const mute = (label, sign, ...sources) =>
      menuItem({ icon: sign, label, onclick: () => this.#mute(id, sources) });
    return [
      mic && mute(text.mute, 'mic-off', 'microphone'),
      camera && mute(text.stopCamera, 'camera-off', 'camera'),
      sharing && mute(text.stopScreen, 'screen-off', 'screen', 'screen-audio'),
      menuItem({
        icon: 'remove',
        label: text.remove,
        class: 'is-danger',
        onclick: () => this.#remove(id, name),
      }),
    ];
  }

  /**
   * @param {string} label
   * @param {() => void} onclick
   */
  #button(label, onclick) {
    return h('button', { type: 'button', class: 'plain', onclick }, label);
  }

  #endButton() {
    const button = this.#button(text.end, async () => {
      if (await isSure(text.askEnd, text.askEndButton)) await this.#do(() => this.#room.moderation.end());
    });
    button.classList.add('is-danger');
    return button;
  }

  /**
   * @param {string} participant
   * @param {Source[]} sources
   */
  #mute(participant, sources) {
    const { roster, moderation } = this.#room;
    const tracks = sources.flatMap(source => roster.track(participant, source) ?? []);
    return this.#do(() => Promise.all(tracks.map(({ id }) => moderation.mute(participant, id))));
  }

  #muteAll() {
    const { others } = this.#room.roster;
    return Promise.all(others.map(({ id }) => this.#mute(id, ['microphone'])));
  }

  /**
   * @param {string} participant
   * @param {string} name
   */
  async #remove(participant, name) {
    if (!(await isSure(text.askRemove(name), text.askRemoveButton))) return;
    await this.#do(() => this.#room.moderation.remove(participant));
  }

  /** @param {() => Promise<unknown>} request */
  async #do(request) {
    try {
      await request();
    } catch {
      note(text.failed);
      this.update();
    }
  }
}

/**
 * The question comes when it is asked: most calls never have one.
 *
 * @param {string} question
 * @param {string} yes
 */
async function isSure(question, yes) {
  try {
    const { ask } = await import('./confirm.js');
    return await ask(question, yes);
  } catch {
    note(text.failed);
    return false;
  }
}

/** @param {(locked: boolean) => void} onchange */
function lockToggle(onchange) {
  const element = toggle(text.lock, false, onchange);
  element.title = text.lockHint;
  element.append(icon('lock'));
  return { element, box: /** @type {HTMLInputElement} */ (element.querySelector('input')) };
}
