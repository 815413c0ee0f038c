// Waiting for what a test is about to see: as short as it takes, and with words when it never comes.

import { setTimeout as sleep } from 'node:timers/promises';

/** How often a condition is looked at; well below anything a person would notice. */
const LOOK_EVERY_MS = 50;

/**
 * How long one look may take at the least; at the most it is a third of the whole wait. A driver waits by
 * itself, for half a minute, for an element that has just gone: such a look is given up for the next one.
 */
const LOOK_MS = 5_000;

/**
 * Waits until `look` gives something truthy, and returns that. A look may come again before an earlier one
 * has ended, so it only looks.
 *
 * @template T
 * @param {string} what said when it never comes: "Ada sees two pictures"
 * @param {() => T | Promise<T>} look
 * @param {number} [timeoutMs]
 * @returns {Promise<T>}
 */
export async function until(what, look, timeoutMs = 15_000) {
  const deadline = performance.now() + timeoutMs;
  let last;
  for (;;) {
    try {
      last = await within(Math.max(LOOK_MS, timeoutMs / 3), look);
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${timeoutMs / 1000} s: ${what} (last seen: ${describe(last)})`);
    }
    await sleep(LOOK_EVERY_MS);
  }
}

/** What `look` gives, unless that takes too long. */
async function within(limitMs, look) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${limitMs / 1000} s`)), limitMs);
  });
  try {
    return await Promise.race([look(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function describe(value) {
  return value instanceof Error ? value.message : JSON.stringify(value);
}
