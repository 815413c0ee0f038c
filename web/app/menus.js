// Menus that open beside a button.

import { h, icon, iconButton } from './dom.js';

/**
 * The button that opens a menu.
 *
 * @param {string} name of its icon
 * @param {string} label
 * @param {HTMLElement} menu
 */
export function menuButton(name, label, menu) {
  const place = () => {
    if (menu.matches(':popover-open')) placeAbove(menu, opener);
    else removeEventListener('resize', place);
  };
  const opener = iconButton({
    icon: name,
    label,
    class: 'opener',
    onclick: () => {
      menu.togglePopover();
      place();
    },
  });
  opener.setAttribute('aria-haspopup', 'dialog');
  opener.setAttribute('aria-expanded', 'false');
  menu.addEventListener('toggle', event => {
    const isOpen = /** @type {ToggleEvent} */ (event).newState === 'open';
    opener.setAttribute('aria-expanded', String(isOpen));
    // A telephone that is turned meanwhile has its buttons elsewhere.
    if (isOpen) addEventListener('resize', place);
    const focusable = menu.querySelector('button, select, input');
    if (isOpen && focusable instanceof HTMLElement) focusable.focus();
  });
  return opener;
}

/** Between a menu and the edge of the window. */
const MARGIN = 12;

/**
 * A menu that opens above a button, or below it where there is no room, inside the window.
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
  const above = at.top - MARGIN - menu.offsetHeight;
  if (above >= MARGIN) {
    menu.style.setProperty('bottom', `${innerHeight - at.top + MARGIN}px`);
    menu.style.setProperty('top', 'auto');
  } else {
    const below = Math.min(at.bottom + MARGIN, innerHeight - MARGIN - menu.offsetHeight);
    menu.style.setProperty('top', `${Math.max(MARGIN, below)}px`);
    menu.style.setProperty('bottom', 'auto');
  }
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
