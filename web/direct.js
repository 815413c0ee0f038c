// A call of two, whose media go from one browser to the other. The server passes on only what they say to
// find each other, descriptions and candidates, as messages of a room, which mean nothing to it.
//
//   import { DirectCall } from '/direct.js';
//   const call = new DirectCall(room, stream);   // a Room that was joined with nothing, and what is sent
//   video.srcObject = call.remote;
//   await call.start();

/** @import { Message } from './roster.js' */
/** @import { Room } from './room.js' */

/** Somebody has come who would like to be called. */
const HELLO = 'direct-hello';
/** A description or a candidate, from one to the other. */
const SIGNAL = 'direct-signal';
/** They go. */
const BYE = 'direct-bye';

/**
 * @typedef {'waiting' | 'connecting' | 'connected' | 'over'} DirectState
 */

/** Fires `state`. Whoever is there first calls whoever comes; a third is not heard. */
export class DirectCall extends EventTarget {
  /** @type {DirectState} */
  state = 'waiting';
  /** What the other sends. */
  remote = new MediaStream();
  /** @type {string | null} the other's id in the room */
  peer = null;
  #room;
  #local;
  #configuration;
  /** @type {RTCPeerConnection | null} */
  #pc = null;
  #isOffering = false;
  #ignoresOffer = false;
  /** What came is taken one after the other: a candidate waits for its description. */
  #queue = Promise.resolve();
  /**
   * What we tell the other goes one after the other, too: requests that are under way together overtake each other.
   * An offer that came after the answer for which it was given up would be taken for a new one.
   *
   * @type {Promise<unknown>}
   */
  #telling = Promise.resolve();

  /**
   * @param {Room} room
   * @param {MediaStream} local what is sent
   * @param {RTCConfiguration} [configuration] STUN and TURN servers, if the two need any
   */
  constructor(room, local, configuration = {}) {
    super();
    this.#room = room;
    this.#local = local;
    this.#configuration = configuration;
    room.addEventListener('message', event => {
      const { detail } = /** @type {CustomEvent<Message>} */ (event);
      this.#queue = this.#queue.then(() => this.#heard(detail)).catch(error => this.#failed(error));
    });
    room.addEventListener('departed', event => {
      if (/** @type {CustomEvent} */ (event).detail.id === this.peer) this.#wait();
    });
    room.addEventListener('over', () => this.#end());
  }

  /** Tells those who are there that we are, too. */
  async start() {
    await this.#room.say(HELLO, {});
  }

  /** Hangs up; there is no way back. */
  end() {
    if (this.peer) this.#room.say(BYE, {}, { to: this.peer }).catch(() => {});
    this.#end();
  }

  /** @param {Message} message */
  async #heard({ event, from, data }) {
    if (this.state === 'over' || from === null) return;
    if (event === HELLO && this.peer === null) this.#call(from);
    if (event === SIGNAL) {
      if (this.peer === null) this.#call(from);
      if (from === this.peer) await this.#signalled(/** @type {Signal} */ (data));
    }
    if (event === BYE && from === this.peer) this.#wait();
  }

  /**
   * A connection to somebody. Both begin to offer when both have come at once: then one gives way.
   *
   * @param {string} peer
   */
  #call(peer) {
    const pc = new RTCPeerConnection(this.#configuration);
    this.peer = peer;
    this.#pc = pc;
    this.#setState('connecting');
    pc.addEventListener('negotiationneeded', () => this.#offer(pc));
    pc.addEventListener('icecandidate', ({ candidate }) => {
      this.#signal(pc, { candidate }).catch(error => this.#failed(error));
    });
    pc.addEventListener('track', ({ track }) => this.remote.addTrack(track));
    pc.addEventListener('connectionstatechange', () => {
      if (pc !== this.#pc) return;
      if (pc.connectionState === 'connected') this.#setState('connected');
      if (pc.connectionState === 'failed') pc.restartIce();
    });
    for (const track of this.#local.getTracks()) pc.addTrack(track, this.#local);
  }

  /** @param {RTCPeerConnection} pc */
  async #offer(pc) {
    this.#isOffering = true;
    try {
      await pc.setLocalDescription();
      await this.#signal(pc, { description: pc.localDescription });
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#isOffering = false;
    }
  }

  /**
   * @typedef {{description?: RTCSessionDescription | null, candidate?: RTCIceCandidate | null}} Signal
   * @param {Signal} signal
   */
  async #signalled({ description, candidate }) {
    const pc = this.#pc;
    if (!pc) return;
    if (description) {
      const isCrossed = description.type === 'offer' && (this.#isOffering || pc.signalingState !== 'stable');
      this.#ignoresOffer = isCrossed && !this.#isPolite;
      if (this.#ignoresOffer) return;
      await pc.setRemoteDescription(description);
      if (description.type === 'offer') {
        await pc.setLocalDescription();
        await this.#signal(pc, { description: pc.localDescription });
      }
    } else if (candidate) {
      // Candidates of an offer that was not taken fit no description of ours.
      await pc.addIceCandidate(candidate).catch(error => {
        if (!this.#ignoresOffer) throw error;
      });
    }
  }

  /** Of two, exactly one is. */
  get #isPolite() {
    return (this.#room.roster.me ?? '') < (this.peer ?? '');
  }

  /**
   * @param {RTCPeerConnection} pc
   * @param {Signal} signal
   */
  async #signal(pc, signal) {
    const tell = async () => {
      if (pc === this.#pc) await this.#room.say(SIGNAL, signal, { to: this.peer });
    };
    const told = this.#telling.then(tell);
    this.#telling = told.catch(() => {});
    await told;
  }

  /** @param {unknown} error */
  #failed(error) {
    // Whoever left meanwhile cannot be told anything; all else is for whoever builds a page.
    if (this.peer !== null) console.warn('direct call:', error);
  }

  #wait() {
    this.#hangUp();
    this.#setState('waiting');
  }

  #end() {
    this.#hangUp();
    this.#setState('over');
  }

  #hangUp() {
    this.#pc?.close();
    this.#pc = null;
    this.peer = null;
    for (const track of this.remote.getTracks()) this.remote.removeTrack(track);
  }

  /** @param {DirectState} state */
  #setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}
