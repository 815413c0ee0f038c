// What WHIP and WHEP have in common: one connection to one door, kept alive.

import { Backoff } from './backoff.js';
import { PathWatch } from './path.js';
import { iceFragment, withIce } from './sdp.js';
import { HttpError, Session } from './session.js';

/** Until a request that got lost is made again: browsers break off all of them when the network changes. */
const RETRY_MS = 300;

/**
 * A connection in one direction. Fires `state` (detail: `'connecting'`, `'connected'`,
 * `'reconnecting'`, `'closed'`) and `error` (detail: the error, when it gave up).
 */
export class OneWay extends EventTarget {
  /** @type {RTCPeerConnection | null} */
  pc = null;
  /** @type {'new' | 'connecting' | 'connected' | 'reconnecting' | 'closed'} */
  state = 'new';
  /** @type {Session | null} */
  #session = null;
  #backoff = new Backoff();
  /** @type {PathWatch | null} */
  #path = null;
  /** @type {RTCPeerConnection | null} the one whose restart is under way */
  #restarting = null;

  /**
   * @param {string} url the door, absolute or relative to the page
   * @param {{token?: string, name?: string}} [options]
   */
  constructor(url, options = {}) {
    super();
    this.url = new URL(url, document.baseURI).href;
    this.options = options;
  }

  /**
   * Adds what is sent or received.
   *
   * @param {RTCPeerConnection} _pc
   */
  prepare(_pc) {
    throw new Error('a direction is needed');
  }

  /** Connects; rejects if the first attempt fails. */
  async open() {
    this.#setState('connecting');
    try {
      await this.#connect();
    } catch (error) {
      this.#drop();
      this.#setState('closed');
      throw error;
    }
  }

  /** Ends the session and the connection. */
  async close() {
    this.#setState('closed');
    this.#backoff.hurry();
    await this.#session?.end();
    this.#drop();
  }

  async #connect() {
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    this.pc = pc;
    this.prepare(pc);
    pc.addEventListener('connectionstatechange', () => this.#connectionChanged(pc));
    const path = new PathWatch(pc, () => this.#restartIce(pc));
    this.#path = path;
    // The server is ICE-lite: it learns our addresses from our checks, so nothing waits for gathering.
    await pc.setLocalDescription();
    this.#session = await Session.open(this.url, pc.localDescription?.sdp ?? '', this.options);
    path.offer(this.#session.iceServers);
    await pc.setRemoteDescription({ type: 'answer', sdp: path.answer(this.#session.answer) });
  }

  /** @param {RTCPeerConnection} pc */
  #connectionChanged(pc) {
    if (pc !== this.pc) return;
    if (pc.connectionState === 'connected') {
      this.#backoff.reset();
      this.#setState('connected');
    } else if (pc.connectionState === 'failed') {
      this.#reconnect();
    }
  }

  /** @param {RTCPeerConnection} pc */
  async #restartIce(pc) {
    const session = this.#session;
    if (!session || pc !== this.pc || pc === this.#restarting) return;
    this.#restarting = pc;
    const remote = pc.remoteDescription?.sdp ?? '';
    // What is open may go on: as long as it has not failed, a request that got lost is made again.
    while (pc === this.pc && pc.connectionState !== 'failed') {
      try {
        await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
        const fragment = await session.restart(iceFragment(pc.localDescription?.sdp ?? ''));
        const answer = withIce(remote, fragment);
        await pc.setRemoteDescription({ type: 'answer', sdp: this.#path?.answer(answer) ?? answer });
        break;
      } catch (error) {
        if (error instanceof HttpError && !error.isTemporary) {
          this.#reconnect();
          break;
        }
        await new Promise(resolve => setTimeout(resolve, RETRY_MS));
      }
    }
    if (pc === this.#restarting) this.#restarting = null;
  }

  async #reconnect() {
    if (this.state === 'reconnecting' || this.state === 'closed') return;
    this.#setState('reconnecting');
    /** @type {number | null} */
    let atLeast = null;
    for (;;) {
      this.#drop();
      await this.#backoff.wait(atLeast);
      if (this.isClosed) return;
      try {
        await this.#connect();
        // Closed while the request was under way: `close` could not know of this session.
        if (this.isClosed) await this.close();
        return;
      } catch (error) {
        if (error instanceof HttpError && !error.isTemporary && error.status !== 409) {
          this.#drop();
          this.#setState('closed');
          this.dispatchEvent(new CustomEvent('error', { detail: error }));
          return;
        }
        atLeast = error instanceof HttpError ? error.retryAfterSeconds : null;
      }
    }
  }

  get isClosed() {
    return this.state === 'closed';
  }

  #drop() {
    this.#path?.stop();
    this.pc?.close();
    this.pc = null;
    this.#session = null;
  }

  /** @param {OneWay['state']} state */
  #setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent('state', { detail: state }));
  }
}
