// The conversation in writing: to everyone, or to one.

import { HttpError } from '../session.js';
import { strings } from '../strings.js';
import { h, icon, iconButton, newId } from './dom.js';
import { linked } from './links.js';
import { note } from './notices.js';
import { Panel } from './panel.js';

/**
 * @import { Room } from '../room.js'
 * @import { Message } from '../roster.js'
 */

const text = strings.chat;

/** What our messages are called on the wire. */
const EVENT = 'chat';
/** Longer ones are pages, not messages; in UTF-8 and JSON it stays below the server's 16 KiB. */
const MOST_CHARACTERS = 4000;
/** So many messages stay on the page: more than a long meeting has, and few enough to scroll. */
const MOST_MESSAGES = 500;
/** How much of a message a note shows. */
const NOTE_CHARACTERS = 80;
/** Who is nearer than this to the end of the log, in pixels, is reading along. */
const READING_PX = 60;

/** The panel. Calls `onUnread` when the number of messages not yet seen changes. */
export class Chat {
  #room;
  #ownName;
  #onUnread;
  #log = h('ol', { class: 'chat-log', role: 'log', 'aria-label': text.log, tabIndex: 0 });
  #empty = h('p', { class: 'hint chat-empty' }, text.empty);
  #problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  #to = h('select', { id: newId(), class: 'field-input chat-to' });
  #input = h('textarea', {
    class: 'field-input chat-input',
    rows: 1,
    maxLength: MOST_CHARACTERS,
    placeholder: text.placeholder,
    dir: 'auto',
    'aria-label': text.label,
  });
  /** @type {Set<string>} messages on the page; a snapshot brings them again */
  #known = new Set();
  /** @type {Map<string, string>} names of all who were here, for what they left behind */
  #names = new Map();
  #panel;
  #isSending = false;
  unread = 0;

  /**
   * @param {{room: Room, ownName: string, close: () => void, onUnread: () => void}} options
   */
  constructor({ room, ownName, close, onUnread }) {
    this.#room = room;
    this.#ownName = ownName;
    this.#onUnread = onUnread;
    const send = iconButton({ icon: 'send', label: text.send, class: 'chat-send', onclick: () => {} });
    send.type = 'submit';
    this.#input.addEventListener('keydown', event => this.#typed(event));
    const form = h(
      'form',
      { class: 'panel-footer chat-form', onsubmit: (/** @type {Event} */ event) => this.#submit(event) },
      this.#problem,
      h('div', { class: 'chat-line' }, h('label', { for: this.#to.id }, text.to), this.#to),
      h('div', { class: 'chat-line' }, this.#input, send),
    );
    const body = h('div', { class: 'panel-body' }, this.#empty, this.#log);
    this.#panel = new Panel({ name: 'chat', closeLabel: text.close, close }, body, form);
    this.#panel.heading.textContent = text.heading;
    this.element = this.#panel.element;
    this.#fillTo();
  }

  get isOpen() {
    return this.#panel.isOpen;
  }

  /** @param {boolean} isOpen */
  toggle(isOpen) {
    this.#panel.toggle(isOpen);
    if (!isOpen) return;
    this.#setUnread(0);
    this.#log.lastElementChild?.scrollIntoView({ block: 'end' });
    // A telephone's keyboard would cover what there is to read.
    if (matchMedia('(hover: hover)').matches) this.#input.focus();
  }

  /**
   * Turns to one person.
   *
   * @param {string} participant
   */
  writeTo(participant) {
    this.#fillTo();
    this.#to.value = participant;
    this.#input.focus();
  }

  /** The people changed. */
  update() {
    for (const { id, name } of this.#room.roster.participants.values()) this.#names.set(id, name || id);
    if (this.isOpen) this.#fillTo();
  }

  /** What was said before we came, or while we were away. */
  recall() {
    this.update();
    for (const message of this.#room.roster.messages) this.#receive(message, false);
  }

  /**
   * A message came.
   *
   * @param {Message} message
   */
  hear(message) {
    this.#receive(message, true);
  }

  /**
   * @param {Message} message
   * @param {boolean} isNew
   */
  #receive(message, isNew) {
    const words = wordsOf(message);
    if (message.event !== EVENT || words === '' || this.#known.has(message.id)) return;
    this.#show(message, words);
    if (this.isOpen || message.from === this.#room.roster.me) return;
    this.#setUnread(this.unread + 1);
    if (isNew) note(text.note(this.#nameOf(message), shortened(words)));
  }

  /**
   * @param {Message} message
   * @param {string} words
   */
  #show(message, words) {
    const log = this.#log;
    const { scrollHeight, scrollTop, clientHeight } = /** @type {HTMLElement} */ (log.parentElement);
    const isReading = scrollHeight - scrollTop - clientHeight < READING_PX;
    this.#known.add(message.id);
    this.#empty.hidden = true;
    log.append(this.#element(message, words));
    while (log.children.length > MOST_MESSAGES) log.firstElementChild?.remove();
    const isOwn = message.from === this.#room.roster.me;
    if (this.isOpen && (isReading || isOwn)) log.lastElementChild?.scrollIntoView({ block: 'end' });
  }

  /**
   * @param {Message} message
   * @param {string} words
   */
  #element(message, words) {
    const isOwn = message.from === this.#room.roster.me;
    const alone = isOwn ? text.toOne(this.#names.get(message.to ?? '') ?? '') : text.toYou;
    const at = new Date(message.at);
    const classes = ['message', isOwn && 'is-own', message.to && 'is-private'].filter(Boolean);
    return h(
      'li',
      { class: classes.join(' ') },
      h(
        'p',
        { class: 'message-head' },
        h('bdi', { class: 'message-name' }, this.#nameOf(message)),
        message.to && h('span', { class: 'message-private' }, icon('lock'), alone),
        h(
          'time',
          { dateTime: at.toISOString() },
          at.toLocaleTimeString(document.documentElement.lang, { hour: '2-digit', minute: '2-digit' }),
        ),
      ),
      h('p', { class: 'message-words', dir: 'auto' }, ...linked(words)),
    );
  }

  /**
   * The server's word for who is here, and the sender's own for who was before we came.
   *
   * @param {Message} message
   */
  #nameOf({ from, data }) {
    if (from === null) return text.server;
    if (from === this.#room.roster.me) return text.you;
    const claimed = typeof data.name === 'string' ? data.name.slice(0, 64) : '';
    return this.#names.get(from) ?? (claimed || from);
  }

  /** Everyone and each of the others; who was chosen and left stays, so that nothing private goes to all. */
  #fillTo() {
    const chosen = this.#to.value;
    const others = this.#room.roster.others.map(({ id, name }) => ({ id, label: name || id }));
    others.sort((a, b) => a.label.localeCompare(b.label));
    if (chosen && !others.some(({ id }) => id === chosen)) {
      others.push({ id: chosen, label: text.gone(this.#names.get(chosen) ?? chosen) });
    }
    const options = [{ id: '', label: text.everyone }, ...others];
    const before = [...this.#to.options].map(({ value, label }) => value + label).join();
    if (before === options.map(({ id, label }) => id + label).join()) return;
    this.#to.replaceChildren(...options.map(({ id, label }) => h('option', { value: id }, label)));
    this.#to.value = chosen;
  }

  /** @param {KeyboardEvent} event */
  #typed(event) {
    // Enter while a word is being composed (as in Japanese) belongs to the composing.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    this.#submit(event);
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault();
    const words = this.#input.value.trim();
    if (words === '' || this.#isSending) return;
    this.#isSending = true;
    const to = this.#to.value || null;
    try {
      const data = { text: words, name: this.#ownName };
      const message = await this.#room.say(EVENT, data, { to, keep: to === null });
      this.#show(message, words);
      this.#input.value = '';
      this.#problem.hidden = true;
    } catch (error) {
      this.#problem.textContent = failureText(error, to);
      this.#problem.hidden = false;
    }
    this.#isSending = false;
  }

  /** @param {number} unread */
  #setUnread(unread) {
    if (unread === this.unread) return;
    this.unread = unread;
    this.#onUnread();
  }
}

/**
 * @param {Message} message
 * @returns {string} empty if it is not one of ours
 */
function wordsOf({ data }) {
  return typeof data?.text === 'string' ? data.text.slice(0, MOST_CHARACTERS).trim() : '';
}

/** @param {string} words */
const shortened = words =>
  words.length > NOTE_CHARACTERS ? `${words.slice(0, NOTE_CHARACTERS).trimEnd()}…` : words;

/**
 * @param {unknown} error
 * @param {string | null} to
 */
function failureText(error, to) {
  if (!(error instanceof HttpError)) return text.failed;
  if (error.status === 429) return text.tooFast;
  return error.status === 404 && to !== null ? text.notThere : text.failed;
}
