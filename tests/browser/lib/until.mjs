// Waiting for what a test is about to see: as short as it takes, and with words when it never comes.

import { setTimeout as sleep } from 'node:timers/promises';

/** How often a condition is looked at; well below anything a person would notice. */
const LOOK_EVERY_MS = 50;

/**
 * Waits until `look` gives something truthy, and returns that.
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
      last = await look();
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

function describe(value) {
  return value instanceof Error ? value.message : JSON.stringify(value);
}
