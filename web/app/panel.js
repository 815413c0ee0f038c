// A panel beside the stage: one thing, with a heading and a button that closes it.

import { h, iconButton, newId } from './dom.js';

/** What all panels have in common. */
export class Panel {
  // Focus goes here when the panel opens, so that what it is is read out.
  heading = h('h2', { id: newId(), tabIndex: -1 });
  element;

  /**
   * @param {{name: string, closeLabel: string, close: () => void}} options `name` is its class
   * @param {...import('./dom.js').Child} children
   */
  constructor({ name, closeLabel, close }, ...children) {
    const closeButton = iconButton({ icon: 'close', label: closeLabel, onclick: close });
    const header = h('header', { class: 'panel-header' }, this.heading, closeButton);
    this.element = h(
      'aside',
      { class: `panel ${name}`, 'aria-labelledby': this.heading.id, hidden: true },
      header,
      ...children,
    );
    this.element.addEventListener('keydown', event => {
      // A menu that is open takes the key for itself.
      if (event.key !== 'Escape' || this.element.querySelector(':popover-open')) return;
      event.stopPropagation();
      close();
    });
  }

  get isOpen() {
    return !this.element.hidden;
  }

  /** @param {boolean} isOpen */
  toggle(isOpen) {
    this.element.hidden = !isOpen;
    if (isOpen) this.heading.focus();
  }
}
