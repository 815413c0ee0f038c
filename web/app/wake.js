// Keeps the screen on during a call: a telephone that goes dark stops its camera.

/** Holds the lock for as long as it is wanted; the browser takes it away from hidden pages. */
export class WakeLock {
  /** @type {WakeLockSentinel | null} */
  #lock = null;
  #onVisible = () => this.#acquire();

  constructor() {
    document.addEventListener('visibilitychange', this.#onVisible);
    this.#acquire();
  }

  close() {
    document.removeEventListener('visibilitychange', this.#onVisible);
    this.#lock?.release().catch(() => {});
  }

  async #acquire() {
    if (document.hidden || !('wakeLock' in navigator)) return;
    try {
      this.#lock = await navigator.wakeLock.request('screen');
    } catch {
      // Refused when the battery is low: the call goes on.
    }
  }
}
