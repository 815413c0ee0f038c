// Whether media would get through, and by which ways, before anybody is disturbed: connects as a viewer of
// the room, of which nobody in it is told, once for each way, and leaves again.

import { Session } from './session.js';

/**
 * A way to the server, in the order in which they are preferred.
 *
 * @typedef {'udp' | 'tcp' | 'turn-udp' | 'turn-tcp' | 'turn-tls'} Way
 *
 * @typedef {object} Trial
 * @property {Way} way
 * @property {number | null} roundTripMs null if nothing gets through
 * @property {number} tookMs until it was connected, or given up
 * @property {string} place of the server's media, as far as that is known
 */

/** What takes longer than this is no basis for a call. */
const CONNECT_MS = 8000;
/** How often it is looked for the round trip: it is known a moment after the connection. */
const LOOK_MS = 100;

/**
 * Tries every way that the server offers, and tells of each, the best first. Rejects with an `HttpError` if the
 * server does not let us in, with another error if it cannot be asked.
 *
 * @param {string} room
 * @param {{server?: string, token?: string}} [options]
 * @returns {Promise<Trial[]>}
 */
export async function testConnection(room, { server = location.origin, token } = {}) {
  const door = new URL(`/whep/${encodeURIComponent(room)}`, server).href;
  const first = new Attempt({ door, token });
  const attempts = [first];
  try {
    // Its answer says which ways there are; its session lends its credentials to the others, and has to
    // last as long as they do.
    const answer = await first.open();
    const ways = waysOf(answer, first.relays);
    const trials = [...ways].map(([way, relays]) => {
      if (way === 'udp') return first.run(way);
      const attempt = new Attempt({ door, token, relays });
      attempts.push(attempt);
      return attempt.run(way);
    });
    return await Promise.all(trials);
  } finally {
    for (const attempt of attempts) attempt.end();
  }
}

/**
 * The ways that an answer and its relays offer, with the relays of each.
 *
 * @param {string} answer
 * @param {RTCIceServer[]} relays
 * @returns {Map<Way, RTCIceServer[]>}
 */
export function waysOf(answer, relays) {
  /** @type {Map<Way, RTCIceServer[]>} */
  const ways = new Map();
  for (const protocol of /** @type {const} */ (['udp', 'tcp'])) {
    if (new RegExp(`^a=candidate:\\S+ \\d+ ${protocol} `, 'im').test(answer)) ways.set(protocol, []);
  }
  for (const relay of relays) {
    const url = String(relay.urls);
    const plain = url.includes('transport=tcp') ? 'turn-tcp' : 'turn-udp';
    const way = url.startsWith('turns:') ? 'turn-tls' : plain;
    ways.set(way, [...(ways.get(way) ?? []), relay]);
  }
  return ways;
}

/**
 * An answer with the candidates of one protocol alone.
 *
 * @param {string} answer
 * @param {'udp' | 'tcp'} protocol
 */
export function only(answer, protocol) {
  return answer.replace(/^a=candidate:\S+ \d+ (\S+) .*\r?\n/gm, (line, own) => {
    return own.toLowerCase() === protocol ? line : '';
  });
}

/** One connection by one way. */
class Attempt {
  /** @type {RTCIceServer[]} */
  relays = [];
  #pc;
  /** @type {Session | null} */
  #session = null;
  #door;
  #token;

  /** @param {{door: string, token?: string, relays?: RTCIceServer[]}} options */
  constructor({ door, token, relays = [] }) {
    this.#door = door;
    this.#token = token;
    const iceTransportPolicy = relays.length > 0 ? 'relay' : 'all';
    this.#pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers: relays, iceTransportPolicy });
    this.#pc.addTransceiver('audio', { direction: 'recvonly' });
  }

  /** Asks for a session; answers with the server's description. */
  async open() {
    await this.#pc.setLocalDescription();
    const offer = this.#pc.localDescription?.sdp ?? '';
    this.#session = await Session.open(this.#door, offer, { token: this.#token });
    this.relays = this.#session.iceServers;
    return this.#session.answer;
  }

  /**
   * @param {Way} way
   * @returns {Promise<Trial>}
   */
  async run(way) {
    const begun = performance.now();
    try {
      const answer = this.#session?.answer ?? (await this.open());
      const sdp = only(answer, way === 'tcp' ? 'tcp' : 'udp');
      await this.#pc.setRemoteDescription({ type: 'answer', sdp });
      while (performance.now() - begun < CONNECT_MS) {
        const path = await this.#path();
        if (path) return { way, tookMs: performance.now() - begun, ...path };
        await new Promise(resolve => setTimeout(resolve, LOOK_MS));
      }
    } catch {
      // Whatever it was, this way is none.
    }
    return { way, roundTripMs: null, tookMs: performance.now() - begun, place: '' };
  }

  end() {
    this.#session?.end();
    this.#session = null;
    this.#pc.close();
  }

  async #path() {
    if (this.#pc.connectionState !== 'connected') return null;
    /** @type {Map<string, any>} */
    const report = new Map();
    for (const [id, entry] of /** @type {any} */ (await this.#pc.getStats())) report.set(id, entry);
    for (const pair of report.values()) {
      if (pair.type !== 'candidate-pair' || !pair.nominated || pair.state !== 'succeeded') continue;
      const remote = report.get(pair.remoteCandidateId);
      const { currentRoundTripTime: seconds } = pair;
      if (!remote || seconds === undefined) continue;
      const host = remote.address ?? remote.ip;
      const place = `${host.includes(':') ? `[${host}]` : host}:${remote.port}`;
      return { place, roundTripMs: seconds * 1000 };
    }
    return null;
  }
}
