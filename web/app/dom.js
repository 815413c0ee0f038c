// Making elements.

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * An element. Properties that start with `on` are listeners, `class` and names with a dash are
 * attributes, all others are properties of the element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class' || name === 'role' || name === 'for' || name.includes('-'))
      element.setAttribute(name, value);
    else Reflect.set(element, name, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * Loads one more stylesheet, which has its place behind those that are there.
 *
 * @param {string} name
 * @returns {Promise<void>}
 */
export function loadStyle(name) {
  const link = h('link', { rel: 'stylesheet', href: `/css/${name}.css` });
  return new Promise((resolve, reject) => {
    link.addEventListener('load', () => resolve());
    link.addEventListener('error', () => {
      link.remove();
      reject(new Error(`${name}.css was not loaded`));
    });
    document.head.append(link);
  });
}

const SVG = 'http://www.w3.org/2000/svg';

/**
 * A picture made of parts of SVG files; decoration, so a label has to stand beside it.
 *
 * @param {string} name its class
 * @param {string | null} viewBox
 * @param {string[]} parts their addresses
 */
export function svgOf(name, viewBox, parts) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', name);
  svg.setAttribute('aria-hidden', 'true');
  if (viewBox) svg.setAttribute('viewBox', viewBox);
  for (const part of parts) {
    const use = document.createElementNS(SVG, 'use');
    use.setAttribute('href', part);
    svg.append(use);
  }
  return svg;
}

/**
 * An icon of the sprite.
 *
 * @param {string} name
 */
export const icon = name => svgOf('icon', null, [`/icons.svg#${name}`]);

/**
 * @param {Element} svg
 * @param {string} name
 */
export function setIcon(svg, name) {
  const href = `/icons.svg#${name}`;
  const use = svg.firstElementChild;
  if (use?.getAttribute('href') !== href) use?.setAttribute('href', href);
}

/**
 * A button that is an icon, named for those who do not see it and for the pointer that rests on it.
 *
 * @param {{icon: string, label: string, key?: string, class?: string, onclick: (event: Event) => void}} options
 */
export function iconButton({ icon: name, label, key, class: classes = '', onclick }) {
  const button = h('button', { type: 'button', class: `icon-button ${classes}`, onclick }, icon(name));
  setLabel(button, label, key);
  return button;
}

/**
 * @param {HTMLElement} element
 * @param {string} label
 * @param {string} [key] its shortcut
 */
export function setLabel(element, label, key) {
  element.setAttribute('aria-label', label);
  if (key) element.setAttribute('aria-keyshortcuts', key);
  element.title = key ? `${label} (${key})` : label;
}

/** @param {HTMLElement} element @param {Child[]} children */
export function replace(element, ...children) {
  element.replaceChildren(
    ...children.filter(child => child !== null && child !== undefined && child !== false),
  );
}

let lastId = 0;
/** An id for `for` and `aria-labelledby`. */
export function newId() {
  lastId += 1;
  return `id-${lastId}`;
}
