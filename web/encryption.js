// Encryption between the participants: what is sent can be read by those who know the passphrase,
// and by nobody else, the server included.
//
//   const encryption = await Encryption.of('correct horse battery staple', 'demo');
//   const room = new Room({ room: 'demo', encryption });

/**
 * The encryption of one room, from a passphrase that all its people share. Fires `change` when what
 * somebody sends has become readable, or has stopped being so.
 */
export class Encryption extends EventTarget {
  #key;
  #worker = new Worker(new URL('./encryption-worker.js', import.meta.url), { type: 'module' });
  /** @type {string[]} the received tracks, by the number the worker knows them under */
  #slots = [];
  /** @type {Set<string>} received tracks whose frames cannot be opened */
  #unreadable = new Set();

  /** Whether this browser can do it, on this page. */
  static get isSupported() {
    return 'RTCRtpScriptTransform' in globalThis && Boolean(globalThis.crypto?.subtle);
  }

  /**
   * @param {string} passphrase
   * @param {string} room its name, which is part of the key
   */
  static async of(passphrase, room) {
    // What computes comes only where there is something to seal.
    const { roomKey } = await import('./frame-crypto.js');
    return new Encryption(await roomKey(passphrase, room));
  }

  /** @param {CryptoKey} key of `roomKey` */
  constructor(key) {
    super();
    this.#key = key;
    this.#worker.addEventListener('message', ({ data: { slot, isReadable } }) => {
      if (isReadable) this.#unreadable.delete(this.#slots[slot]);
      else this.#unreadable.add(this.#slots[slot]);
      this.dispatchEvent(new Event('change'));
    });
  }

  /**
   * Seals what is sent from now on.
   *
   * @param {RTCRtpTransceiver} transceiver
   * @param {'audio' | 'video'} kind
   */
  seal({ sender }, kind) {
    sender.transform = new RTCRtpScriptTransform(this.#worker, { key: this.#key, kind, slot: null });
  }

  /**
   * Opens what is received from now on.
   *
   * @param {RTCRtpTransceiver} transceiver
   * @param {'audio' | 'video'} kind
   */
  open({ receiver }, kind) {
    const slot = this.#slots.push(receiver.track.id) - 1;
    receiver.transform = new RTCRtpScriptTransform(this.#worker, { key: this.#key, kind, slot });
  }

  /**
   * Whether what a slot receives cannot be opened: sealed with another passphrase, or not at all.
   *
   * @param {MediaStreamTrack} track of the slot
   */
  isUnreadable(track) {
    return this.#unreadable.has(track.id);
  }

  /** To be called when the call is over: nothing is sealed or opened any more. */
  close() {
    this.#worker.terminate();
  }
}
