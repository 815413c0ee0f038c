// What the page says about encryption between the participants.

import { Encryption } from '../encryption.js';
import { strings } from '../strings.js';
import { passphraseOfPage, rememberPassphrase } from './address.js';
import { h, icon, newId } from './dom.js';
import { menu } from './menus.js';

const text = strings.encryption;

/** The sign in the head of an encrypted call, and what it means. */
export function encryptionSign() {
  const explanation = menu(
    text.on,
    h('h2', {}, text.on),
    h('p', {}, text.explanation),
    h('p', {}, text.limits),
  );
  explanation.classList.add('explanation');
  const label = h('span', { class: 'button-label' }, text.on);
  const onclick = () => explanation.togglePopover();
  return h(
    'span',
    { class: 'sealed-sign' },
    h('button', { type: 'button', class: 'quiet', 'aria-label': text.on, onclick }, icon('lock'), label),
    explanation,
  );
}

/** The passphrase, before joining: filled in by the link, or thought of here. */
export class PassphraseField {
  #input;

  constructor() {
    const id = newId();
    this.#input = h('input', {
      id,
      class: 'field-input',
      value: passphraseOfPage(),
      maxLength: 128,
      autocomplete: 'off',
      spellcheck: false,
      disabled: !Encryption.isSupported,
      'aria-describedby': `${id}-hint`,
    });
    this.element = h(
      'details',
      { class: 'passphrase', open: this.#input.value !== '' },
      h('summary', {}, icon('lock'), text.heading),
      h('label', { for: id, class: 'field-label' }, text.passphrase),
      this.#input,
      h('p', { id: `${id}-hint`, class: 'hint' }, Encryption.isSupported ? text.hint : text.unsupported),
    );
  }

  /**
   * The encryption that was chosen; the address has its passphrase from now on.
   *
   * @param {string} room
   * @returns {Promise<Encryption | undefined>}
   */
  async encryption(room) {
    const passphrase = this.#input.value.trim();
    // A link that asks for it is never followed without it.
    if (passphrase && !Encryption.isSupported) throw new Error(text.unsupported);
    rememberPassphrase(passphrase);
    return passphrase ? Encryption.of(passphrase, room) : undefined;
  }
}
