// Where tiles go: pure geometry.

/**
 * @typedef {{x: number, y: number, width: number, height: number}} Box
 * @typedef {{boxes: Box[], perPage: number}} Arrangement `perPage` says how many would fit
 */

/** Between tiles, and around them. */
const GAP = 10;
/** Narrower tiles do not show who somebody is: two abreast fit the smallest telephone, five a laptop. */
const NARROWEST = 150;
const LOWEST = 96;
/** More than this on one page is a crowd, not faces. The room has as many slots. */
export const MOST_TILES = 25;
/**
 * Shapes of a tile, width by height, from nearly square to a camera's own. In an upright window
 * tiles may be slimmer: faces stay in the middle, and what is cut off is wall.
 */
const SLIMMEST = 1.15;
const SLIMMEST_UPRIGHT = 0.8;
const WIDEST = 16 / 9;
/** One picture alone may be as tall as a telephone is. */
const SLIMMEST_ALONE = 0.5;

/**
 * As many tiles as fit, all of one size, as large as can be.
 *
 * @param {number} width
 * @param {number} height
 * @param {number} count
 * @returns {Arrangement}
 */
export function gridLayout(width, height, count) {
  const perPage = Math.min(MOST_TILES, fitting(width, height));
  const shown = Math.min(count, perPage);
  let best = { columns: 1, rows: shown, ...cell(width, height, 1, shown, shown) };
  for (let columns = 2; columns <= shown; columns += 1) {
    const rows = Math.ceil(shown / columns);
    const size = cell(width, height, columns, rows, shown);
    if (size.width * size.height > best.width * best.height) best = { columns, rows, ...size };
  }
  return { boxes: place(width, height, shown, best), perPage };
}

/**
 * One large, the others in a strip beside it, or below it if the window is upright.
 *
 * @param {number} width
 * @param {number} height
 * @param {number} count including the large one
 * @param {number | null} aspect of the large one, width by height, if all of it has to be seen
 * @returns {Arrangement}
 */
export function focusLayout(width, height, count, aspect) {
  const strip = count - 1;
  if (strip === 0) return { boxes: [whole(width, height, aspect)], perPage: 0 };
  if (width > height * 1.1) {
    const side = Math.max(120, Math.min(220, width * 0.18));
    const low = side / WIDEST;
    const perPage = Math.max(1, Math.min(strip, Math.floor((height + GAP) / (low + GAP))));
    const main = whole(width - side - GAP, height, aspect);
    const used = perPage * low + (perPage - 1) * GAP;
    const top = (height - used) / 2;
    const boxes = Array.from({ length: perPage }, (_, i) => {
      return { x: width - side, y: top + i * (low + GAP), width: side, height: low };
    });
    return { boxes: [main, ...boxes], perPage };
  }
  const low = Math.max(84, Math.min(130, height * 0.18));
  const narrow = low * 1.2;
  const perPage = Math.max(1, Math.min(strip, Math.floor((width + GAP) / (narrow + GAP))));
  const main = whole(width, height - low - GAP, aspect);
  const left = (width - (perPage * narrow + (perPage - 1) * GAP)) / 2;
  const boxes = Array.from({ length: perPage }, (_, i) => {
    return { x: left + i * (narrow + GAP), y: height - low, width: narrow, height: low };
  });
  return { boxes: [main, ...boxes], perPage };
}

/**
 * A small picture in the corner of a large one: oneself, opposite one other.
 *
 * @param {Box} large
 * @returns {Box}
 */
export function cornerBox({ x, y, width, height }) {
  const isUpright = height > width;
  const w = isUpright
    ? Math.min(112, width * 0.3)
    : Math.min(width * 0.4, Math.max(150, Math.min(240, width * 0.2)));
  const h = isUpright ? w * 1.33 : w / WIDEST;
  return { x: x + width - w - 14, y: y + height - h - 14, width: w, height: h };
}

/**
 * @param {number} width
 * @param {number} height
 */
function fitting(width, height) {
  const columns = Math.floor((width + GAP) / (NARROWEST + GAP));
  const rows = Math.floor((height + GAP) / (LOWEST + GAP));
  // Tiles on an upright screen are upright as well, so fewer rows fit than the lowest would.
  const uprightRows = Math.floor((height + GAP) / (NARROWEST * 0.9 + GAP));
  return Math.max(1, columns) * Math.max(1, width < 600 ? uprightRows : rows);
}

/**
 * The largest tile in a cell of the grid.
 *
 * @param {number} width
 * @param {number} height
 * @param {number} columns
 * @param {number} rows
 * @param {number} count
 */
function cell(width, height, columns, rows, count) {
  const w = Math.max(1, (width - GAP * (columns - 1)) / columns);
  const h = Math.max(1, (height - GAP * (rows - 1)) / rows);
  const most = width > height ? SLIMMEST : SLIMMEST_UPRIGHT;
  const slimmest = count === 1 ? SLIMMEST_ALONE : most;
  return { width: Math.min(w, h * WIDEST), height: Math.min(h, w / slimmest) };
}

/**
 * @param {number} width
 * @param {number} height
 * @param {number} count
 * @param {{columns: number, rows: number, width: number, height: number}} grid
 * @returns {Box[]}
 */
function place(width, height, count, grid) {
  const top = (height - grid.rows * grid.height - (grid.rows - 1) * GAP) / 2;
  return Array.from({ length: count }, (_, i) => {
    const row = Math.floor(i / grid.columns);
    const inRow = Math.min(grid.columns, count - row * grid.columns);
    const left = (width - inRow * grid.width - (inRow - 1) * GAP) / 2;
    const x = left + (i % grid.columns) * (grid.width + GAP);
    return { x, y: top + row * (grid.height + GAP), width: grid.width, height: grid.height };
  });
}

/**
 * @param {number} width
 * @param {number} height
 * @param {number | null} aspect
 * @returns {Box}
 */
function whole(width, height, aspect) {
  const size = aspect
    ? { width: Math.min(width, height * aspect), height: Math.min(height, width / aspect) }
    : cell(width, height, 1, 1, 1);
  return { x: (width - size.width) / 2, y: (height - size.height) / 2, ...size };
}
