// When to try again.

/** First wait; short, since most interruptions are a restart of the server or a change of network. */
const FIRST_MS = 500;
/** Longest wait: a meeting that could go on again should not wait longer than this. */
const LONGEST_MS = 10_000;

/** Waits that double, with jitter, so that a room full of people does not come back in one moment. */
export class Backoff {
  #attempt = 0;
  /** @type {(() => void) | null} */
  #wake = null;

  /**
   * Waits; at least as long as the server asked for.
   *
   * @param {number | null} [atLeastSeconds]
   */
  async wait(atLeastSeconds) {
    const base = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    const jittered = base * (0.5 + Math.random() / 2);
    await this.#sleep(Math.max(jittered, (atLeastSeconds ?? 0) * 1000));
  }

  /** Ends a wait at once, and makes the next ones short again: the network just came back. */
  hurry() {
    this.#attempt = 0;
    this.#wake?.();
  }

  /** The next wait is the first again. */
  reset() {
    this.#attempt = 0;
  }

  /** @param {number} ms */
  #sleep(ms) {
    return new Promise(resolve => {
      const timer = setTimeout(done, ms);
      const self = this;
      function done() {
        clearTimeout(timer);
        self.#wake = null;
        resolve(undefined);
      }
      this.#wake = done;
    });
  }
}
