// Elements of the operator's page: made anew at each look, and only what differs is changed, so that
// focus, a selection and what is read aloud stay where they are.

/** @typedef {Node | string | null | undefined | false} Content */

/**
 * An element with its contents; text stays text, whatever names people have. Contents and attributes
 * that are not there are left out.
 *
 * @param {string} name
 * @param {Record<string, string | number | boolean | null | undefined>} attributes
 * @param {...Content} contents
 */
export function element(name, attributes, ...contents) {
  return filled(document.createElement(name), attributes, contents);
}

/**
 * The same for a drawing.
 *
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {...Content} contents
 */
export function drawn(name, attributes, ...contents) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, contents);
}

/**
 * @template {Element} T
 * @param {T} made
 * @param {Record<string, string | number | boolean | null | undefined>} attributes
 * @param {Content[]} contents
 */
function filled(made, attributes, contents) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value != null && value !== false) made.setAttribute(key, value === true ? '' : String(value));
  }
  made.append(...contents.filter(content => content instanceof Node || typeof content === 'string'));
  return made;
}

/**
 * Makes what stands in an element like these.
 *
 * @param {Element} place
 * @param {...Content} contents
 */
export function show(place, ...contents) {
  const wanted = element('div', {}, ...contents);
  alike(place, [...wanted.childNodes]);
}

/**
 * @param {Element} place
 * @param {ChildNode[]} wanted
 */
function alike(place, wanted) {
  const there = [...place.childNodes];
  wanted.forEach((want, number) => {
    const has = there[number];
    if (!has) place.append(want);
    else if (!isOneKind(has, want)) has.replaceWith(want);
    else if (has instanceof Element && want instanceof Element) become(has, want);
    else if (has.nodeValue !== want.nodeValue) has.nodeValue = want.nodeValue;
  });
  for (const has of there.slice(wanted.length)) has.remove();
}

/**
 * @param {Node} has
 * @param {Node} want
 */
function isOneKind(has, want) {
  const key = (/** @type {Node} */ node) => (node instanceof Element ? node.getAttribute('data-key') : null);
  return has.nodeName === want.nodeName && key(has) === key(want);
}

/**
 * @param {Element} has
 * @param {Element} want
 */
function become(has, want) {
  for (const { name } of [...has.attributes]) {
    // What somebody has opened stays open.
    if (!want.hasAttribute(name) && name !== 'open') has.removeAttribute(name);
  }
  for (const { name, value } of want.attributes) {
    if (has.getAttribute(name) !== value) has.setAttribute(name, value);
  }
  alike(has, [...want.childNodes]);
}

/**
 * A name and a value, as one of a list of facts; nothing where the value is not known.
 *
 * @param {string} name
 * @param {Content} value
 * @param {string} [tone] `bad` or `doubtful`
 */
export function fact(name, value, tone) {
  if (value == null || value === '') return null;
  return element(
    'div',
    { class: 'fact', 'data-tone': tone },
    element('dt', {}, name),
    element('dd', {}, value),
  );
}

/** @param {...Content} rows */
export const facts = (...rows) => element('dl', { class: 'facts' }, ...rows);

/**
 * A part of a whole as a bar, with a mark where it becomes too much.
 *
 * @param {number} part
 * @param {number | null} limit
 * @param {string} [tone]
 */
export function bar(part, limit, tone) {
  const at = (/** @type {number} */ ratio) => Math.round(1000 * Math.min(1, Math.max(0, ratio)));
  return drawn(
    'svg',
    {
      ...{ class: 'bar', viewBox: '0 0 1000 10', preserveAspectRatio: 'none' },
      ...{ 'aria-hidden': 'true', 'data-tone': tone ?? '' },
    },
    drawn('rect', { class: 'bar-whole', width: 1000, height: 10 }),
    drawn('rect', { class: 'bar-part', width: at(part), height: 10 }),
    limit != null &&
      limit < 1 &&
      drawn('rect', { class: 'bar-limit', x: at(limit) - 3, width: 6, height: 10 }),
  );
}

/**
 * Lines over time, the newest at the right, with a common scale.
 *
 * @param {string} title
 * @param {{key: string, name: string, values: number[]}[]} lines
 */
export function chart(title, lines) {
  const length = Math.max(2, ...lines.map(({ values }) => values.length));
  const most = Math.max(1, ...lines.flatMap(({ values }) => values));
  const points = (/** @type {number[]} */ values) =>
    values.map((value, number) => {
      const x = (600 * (number + length - values.length)) / (length - 1);
      return `${x.toFixed(1)},${(96 - (90 * value) / most).toFixed(1)}`;
    });
  return element(
    'figure',
    { class: 'chart' },
    drawn(
      'svg',
      { viewBox: '0 0 600 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': title },
      ...lines.map(({ key, values }) =>
        drawn('polyline', { class: `line-${key}`, points: points(values).join(' ') }),
      ),
    ),
    element(
      'figcaption',
      {},
      ...lines.map(({ key, name }) => element('span', { class: `key-${key}` }, name)),
    ),
  );
}
