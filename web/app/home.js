// The front page: a name for a room.

import { chooseLanguage, language, languages, strings } from '../strings.js';
import { h, icon, iconButton, newId, svgOf } from './dom.js';
import { roomName, suggestRoom } from './names.js';
import { prefs } from './prefs.js';

const text = strings.home;

/** The product's name with its mark. */
export const wordmark = () => h('a', { class: 'wordmark', href: '/' }, icon('logo'), strings.product);

/** @param {HTMLElement} app what shows it from now on */
export function showHome(app) {
  document.title = strings.product;
  app.replaceChildren(homeView());
}

/** @param {string} room what follows the path (tokens, options) is kept as it is */
const open = room => location.assign(`/r/${encodeURIComponent(room)}${location.search}${location.hash}`);

function homeView() {
  const id = newId();
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true }, text.invalid);
  const input = h('input', {
    id,
    class: 'field-input',
    value: suggestRoom(),
    maxLength: 64,
    autocomplete: 'off',
    spellcheck: false,
    'aria-describedby': `${id}-hint`,
    oninput: () => {
      problem.hidden = true;
    },
  });
  const dice = iconButton({
    icon: 'again',
    label: text.another,
    class: 'in-field',
    onclick: () => {
      input.value = suggestRoom();
      input.select();
    },
  });
  /** @param {Event} event */
  const submit = event => {
    event.preventDefault();
    const room = roomName(input.value);
    problem.hidden = room !== null;
    if (room !== null) open(room);
    else input.focus();
  };
  return h(
    'main',
    { class: 'home' },
    h('header', { class: 'page-header' }, wordmark()),
    h(
      'div',
      { class: 'home-body' },
      hemicycle(),
      h('h1', {}, text.heading),
      h('p', { class: 'lead' }, text.lead),
      h(
        'form',
        { class: 'home-form', onsubmit: submit },
        h('label', { for: id, class: 'field-label' }, text.label),
        h('div', { class: 'field-row' }, h('div', { class: 'field-box' }, input, dice), openButton()),
        h('p', { id: `${id}-hint`, class: 'hint' }, text.hint),
        problem,
      ),
      recentRooms(),
    ),
    languageChoice(),
  );
}

function languageChoice() {
  const options = languages.map(({ code, name }) => h('option', { value: code, lang: code }, name));
  const select = h('select', {
    class: 'language',
    'aria-label': text.language,
    onchange: () => chooseLanguage(select.value),
  });
  select.append(...options);
  select.value = language;
  return h('footer', { class: 'home-footer' }, select);
}

/** A chamber of seats, some of them taken, and a few who speak. */
const hemicycle = () =>
  svgOf('hemicycle', '0 0 900 470', [
    '/hemicycle.svg#empty',
    '/hemicycle.svg#taken',
    '/hemicycle.svg#speaking',
  ]);

const openButton = () => h('button', { type: 'submit', class: 'primary' }, text.enter);

function recentRooms() {
  if (prefs.recent.length === 0) return null;
  const links = prefs.recent.map(room =>
    h('li', {}, h('a', { class: 'chip', href: `/r/${encodeURIComponent(room)}` }, room)),
  );
  return h(
    'nav',
    { class: 'recent', 'aria-label': text.recent },
    h('span', {}, text.recent),
    h('ul', {}, ...links),
  );
}
