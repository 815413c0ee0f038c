// How a media frame is sealed so that only those who know a passphrase can open it. Nothing but
// WebCrypto in here; encryption-worker.js puts it into the media path.
//
// A sealed frame is: header in clear | ciphertext | tag (16) | sender (8) | counter (4, big-endian).
// Each sender draws a random number for itself and seals with a key that is derived from it, so
// that no two senders ever use the same key and counter.

const SENDER_BYTES = 8;
const COUNTER_BYTES = 4;
const TAG_BYTES = 16;
/** What a sealed frame is longer than it was. */
export const OVERHEAD_BYTES = TAG_BYTES + SENDER_BYTES + COUNTER_BYTES;

/** What OWASP asks for with SHA-256; about a quarter of a second on a telephone, once. */
const ROUNDS = 600_000;
/** Senders whose keys are kept: more than there are slots. Beyond it, the oldest key is forgotten. */
const MOST_SENDERS = 64;

/** @param {string} text */
const bytesOf = text => new TextEncoder().encode(text);

/**
 * The key that a passphrase means in a room. It cannot be read out again.
 *
 * @param {string} passphrase
 * @param {string} room salts it: the same passphrase gives another key elsewhere
 * @returns {Promise<CryptoKey>}
 */
export async function roomKey(passphrase, room) {
  const secret = bytesOf(passphrase.normalize('NFKC'));
  const material = await crypto.subtle.importKey('raw', secret, 'PBKDF2', false, ['deriveBits']);
  const salt = bytesOf(`plenum room ${room}`);
  const stretch = { name: 'PBKDF2', hash: 'SHA-256', salt, iterations: ROUNDS };
  const bits = await crypto.subtle.deriveBits(stretch, material, 256);
  return crypto.subtle.importKey('raw', bits, 'HKDF', false, ['deriveKey']);
}

/**
 * @param {CryptoKey} key the room's
 * @param {Uint8Array<ArrayBuffer>} sender
 */
function senderKey(key, sender) {
  const expand = { name: 'HKDF', hash: 'SHA-256', salt: sender, info: bytesOf('plenum frames') };
  const cipher = { name: 'AES-GCM', length: 128 };
  return crypto.subtle.deriveKey(expand, key, cipher, false, ['encrypt', 'decrypt']);
}

/**
 * How much of a frame stays readable: what the server and the browser's packetizer look at. Of VP8
 * that is the frame header (RFC 6386 §9.1): 10 bytes of a keyframe, with its size; 3 of all others.
 *
 * @param {'audio' | 'video'} kind
 * @param {Uint8Array} frame not sealed, or what is sealed without what sealing adds: its beginning is the same
 */
function clearBytes(kind, frame) {
  if (kind === 'audio' || frame.length === 0) return 0;
  const isKeyframe = (frame[0] & 1) === 0;
  return Math.min(isKeyframe ? 10 : 3, frame.length);
}

/**
 * What AES-GCM is given: a nonce that no frame of this sender had, and the clear header, so that
 * nobody can change it.
 *
 * @param {Uint8Array<ArrayBuffer>} counter
 * @param {Uint8Array<ArrayBuffer>} header
 */
function gcm(counter, header) {
  const iv = new Uint8Array(12);
  iv.set(counter, iv.length - COUNTER_BYTES);
  return { name: 'AES-GCM', iv, additionalData: header, tagLength: TAG_BYTES * 8 };
}

/** Seals the frames of one sender. */
export class FrameSealer {
  #roomKey;
  #kind;
  #sender = new Uint8Array(SENDER_BYTES);
  /** @type {CryptoKey | null} */
  #key = null;
  #count = 0;

  /**
   * @param {CryptoKey} key the room's
   * @param {'audio' | 'video'} kind
   */
  constructor(key, kind) {
    this.#roomKey = key;
    this.#kind = kind;
  }

  /**
   * One frame after the other: the next call waits for the one before.
   *
   * @param {Uint8Array<ArrayBuffer>} frame
   */
  async seal(frame) {
    if (!this.#key || this.#count > 0xffff_ffff) {
      crypto.getRandomValues(this.#sender);
      this.#key = await senderKey(this.#roomKey, this.#sender);
      this.#count = 0;
    }
    const counter = new Uint8Array(COUNTER_BYTES);
    new DataView(counter.buffer).setUint32(0, this.#count);
    this.#count += 1;
    const header = frame.slice(0, clearBytes(this.#kind, frame));
    const body = await crypto.subtle.encrypt(gcm(counter, header), this.#key, frame.slice(header.length));
    const sealed = new Uint8Array(frame.length + OVERHEAD_BYTES);
    sealed.set(header);
    sealed.set(new Uint8Array(body), header.length);
    sealed.set(this.#sender, sealed.length - SENDER_BYTES - COUNTER_BYTES);
    sealed.set(counter, sealed.length - COUNTER_BYTES);
    return sealed;
  }
}

/** Opens the frames of whoever is in a slot. */
export class FrameOpener {
  #roomKey;
  #kind;
  /** @type {Map<string, CryptoKey>} by sender, the oldest first */
  #keys = new Map();

  /**
   * @param {CryptoKey} key the room's
   * @param {'audio' | 'video'} kind
   */
  constructor(key, kind) {
    this.#roomKey = key;
    this.#kind = kind;
  }

  /**
   * The frame, or null if it was not sealed with our passphrase, or was changed on the way.
   *
   * @param {Uint8Array<ArrayBuffer>} sealed
   */
  async open(sealed) {
    if (sealed.length < OVERHEAD_BYTES) return null;
    const clear = clearBytes(this.#kind, sealed.subarray(0, sealed.length - OVERHEAD_BYTES));
    const end = sealed.length - SENDER_BYTES - COUNTER_BYTES;
    const header = sealed.slice(0, clear);
    const counter = sealed.slice(sealed.length - COUNTER_BYTES);
    const key = await this.#keyOf(sealed.slice(end, end + SENDER_BYTES));
    try {
      const body = await crypto.subtle.decrypt(gcm(counter, header), key, sealed.slice(clear, end));
      const frame = new Uint8Array(clear + body.byteLength);
      frame.set(header);
      frame.set(new Uint8Array(body), clear);
      return frame;
    } catch {
      return null;
    }
  }

  /** @param {Uint8Array<ArrayBuffer>} sender */
  async #keyOf(sender) {
    const name = sender.join();
    const known = this.#keys.get(name);
    if (known) return known;
    const key = await senderKey(this.#roomKey, sender);
    this.#keys.set(name, key);
    const [oldest] = this.#keys.keys();
    if (this.#keys.size > MOST_SENDERS) this.#keys.delete(oldest);
    return key;
  }
}
