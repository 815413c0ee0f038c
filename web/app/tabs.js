// The same room in two tabs of one browser would hear itself: only the last one stays.

/** Tells the other tabs of this browser which room this one is in. */
export class Tabs {
  #channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel('plenum-rooms') : null;
  #room;
  #isInside = false;

  /**
   * @param {string} room
   * @param {{onOther: () => void, onTaken: () => void}} listeners `onOther`: another tab is in this
   *   room; `onTaken`: another tab has just joined it, and this one has to leave
   */
  constructor(room, { onOther, onTaken }) {
    this.#room = room;
    this.#channel?.addEventListener('message', ({ data }) => {
      if (data.room !== room) return;
      if (data.says === 'asks' && this.#isInside) this.#say('is inside');
      if (data.says === 'is inside' && !this.#isInside) onOther();
      if (data.says === 'joined' && this.#isInside) onTaken();
    });
    this.#say('asks');
  }

  /** This tab is in the room now. */
  joined() {
    this.#say('joined');
    this.#isInside = true;
  }

  close() {
    this.#channel?.close();
    this.#channel = null;
  }

  /** @param {'asks' | 'is inside' | 'joined'} says */
  #say(says) {
    this.#channel?.postMessage({ room: this.#room, says });
  }
}
