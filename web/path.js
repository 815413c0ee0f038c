// The path of a connection to the server: when another one is looked for, and by which relays.

/** How long ICE may be `disconnected` before it is restarted: a lost check or two is nothing. */
const DISCONNECTED_MS = 2000;

/**
 * How long the direct ways are tried alone. Checks by UDP and TCP take a round trip or two, so who
 * needs a relay waits little longer, and who needs none leaves none allocated.
 */
const DIRECT_MS = 2000;

/** Watches over one connection's path. */
export class PathWatch {
  #pc;
  #restart;
  #hasUnaskedRelays = false;
  #timer = 0;

  /**
   * @param {RTCPeerConnection} pc
   * @param {() => void} restart restarts ICE
   */
  constructor(pc, restart) {
    this.#pc = pc;
    this.#restart = restart;
    pc.addEventListener('iceconnectionstatechange', () => this.#look());
  }

  /**
   * Names relays for every restart of ICE, the first of which comes by itself if no direct way is
   * found. To be called before the answer is applied.
   *
   * @param {RTCIceServer[]} iceServers
   */
  offer(iceServers) {
    if (iceServers.length === 0) return;
    this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers });
    this.#hasUnaskedRelays = true;
    this.#look();
  }

  stop() {
    clearTimeout(this.#timer);
  }

  #look() {
    clearTimeout(this.#timer);
    const state = this.#pc.iceConnectionState;
    if (state === 'disconnected') {
      this.#timer = setTimeout(this.#restart, DISCONNECTED_MS);
    } else if (this.#hasUnaskedRelays && (state === 'new' || state === 'checking')) {
      this.#timer = setTimeout(() => {
        this.#hasUnaskedRelays = false;
        this.#restart();
      }, DIRECT_MS);
    }
  }
}
