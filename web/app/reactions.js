// Saying something without a word: reactions that float by, and a raised hand.

import { strings } from '../strings.js';
import { h } from './dom.js';
import { isHandUp } from './hands.js';
import { note, say } from './notices.js';

/**
 * @import { Room } from '../room.js'
 * @import { Message } from '../roster.js'
 */

const text = strings.reactions;

/** What reactions are called on the wire. */
const EVENT = 'reaction';
/** How long one floats; the animation in the style sheet is as long. */
const FLOAT_MS = 2600;
/** More at once are a curtain: what comes then is left out. */
const MOST_FLOATING = 40;

/** Reactions and hands of a call. `place` says where somebody's tile is. */
export class Reactions {
  element = h('div', { class: 'floats', 'aria-hidden': 'true' });
  #room;
  #place;
  /** @type {Set<string>} whose hands are up */
  #hands = new Set();

  /**
   * @param {Room} room
   * @param {(participant: string) => DOMRect | null} place
   */
  constructor(room, place) {
    this.#room = room;
    this.#place = place;
  }

  /**
   * The buttons, for a menu.
   *
   * @param {() => void} done
   */
  buttons(done) {
    const buttons = Object.entries(text.names).map(([emoji, label]) =>
      h(
        'button',
        {
          type: 'button',
          class: 'reaction',
          title: label,
          'aria-label': label,
          onclick: () => {
            this.#send(emoji);
            done();
          },
        },
        h('span', { 'aria-hidden': 'true' }, emoji),
      ),
    );
    return h('div', { class: 'reactions', role: 'group', 'aria-label': text.label }, ...buttons);
  }

  get isHandUp() {
    return this.#hands.has(this.#room.roster.me);
  }

  async toggleHand() {
    const isUp = !this.isHandUp;
    await this.#room.describe({ ...this.#room.attributes, hand: isUp });
    say(isUp ? text.ownRaised : text.ownLowered);
  }

  /** Somebody came, changed or left: who has a hand up now? */
  update() {
    const { roster } = this.#room;
    const up = [...roster.participants.values()].filter(isHandUp);
    for (const { id, name } of up) {
      if (!this.#hands.has(id) && id !== roster.me) note(text.raised(name || id));
    }
    this.#hands = new Set(up.map(({ id }) => id));
  }

  /** @param {Message} message */
  hear({ event, from, data }) {
    if (event !== EVENT || from === null || !Object.hasOwn(text.names, data?.emoji)) return;
    const name = this.#room.roster.participants.get(from)?.name || from;
    say(text.spoken(name, text.names[data.emoji]));
    this.#float(from, data.emoji);
  }

  /** @param {string} emoji */
  async #send(emoji) {
    this.#float(this.#room.roster.me, emoji);
    // A reaction that is lost is nothing to be told of.
    await this.#room.say(EVENT, { emoji }).catch(() => {});
  }

  /**
   * @param {string} participant
   * @param {string} emoji
   */
  #float(participant, emoji) {
    const at = this.#place(participant);
    if (!at || this.element.children.length >= MOST_FLOATING) return;
    const float = h('span', { class: 'float' }, emoji);
    // Not one on the other, when many clap.
    const across = at.left + at.width * (0.3 + Math.random() * 0.4);
    float.style.setProperty('left', `${across}px`);
    float.style.setProperty('top', `${at.top + at.height * 0.72}px`);
    this.element.append(float);
    setTimeout(() => float.remove(), FLOAT_MS);
  }
}
