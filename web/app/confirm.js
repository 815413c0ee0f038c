// A question before something that cannot be taken back.

import { strings } from '../strings.js';
import { h, newId } from './dom.js';

/**
 * Asks; resolves to whether the answer was yes. Escape and a click beside it are a no.
 *
 * @param {string} question
 * @param {string} yes what the button says that does it
 * @returns {Promise<boolean>}
 */
export function ask(question, yes) {
  const id = newId();
  /** @param {string} answer */
  const close = answer => () => dialog.close(answer);
  /** @type {HTMLDialogElement} */
  const dialog = h(
    'dialog',
    { class: 'sheet question', 'aria-labelledby': id },
    h('h2', { id }, question),
    h(
      'div',
      { class: 'button-row' },
      h('button', { type: 'button', class: 'plain', onclick: close('') }, strings.moderation.cancel),
      h('button', { type: 'button', class: 'primary is-danger', onclick: close('yes') }, yes),
    ),
  );
  dialog.addEventListener('click', event => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return new Promise(resolve => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
  });
}
