// Whether media would get through, and how, before anybody is disturbed: connects as a viewer of the
// room, of which nobody in it is told, and leaves again.

import { WhepPlayer } from './whep.js';

/**
 * @typedef {object} Path
 * @property {'udp' | 'tcp'} protocol
 * @property {string} address of the server
 * @property {number} port
 * @property {number} roundTripMs
 */

/** ICE over TCP is tried when UDP stays silent; what takes longer than this is no basis for a call. */
const CONNECT_MS = 8000;
/** How often it is looked for the path: it is known a moment after the connection. */
const LOOK_MS = 100;

/**
 * Connects and tells the path. Rejects with an `HttpError` if the server does not let us in, with
 * another error if it cannot be asked; answers null if it can be asked and media do not get through.
 *
 * @param {string} room
 * @param {{server?: string, token?: string}} [options]
 * @returns {Promise<Path | null>}
 */
export async function testConnection(room, { server = location.origin, token } = {}) {
  const player = new WhepPlayer(new URL(`/whep/${encodeURIComponent(room)}`, server).href, { token });
  try {
    await player.play();
    const end = performance.now() + CONNECT_MS;
    while (performance.now() < end && player.state !== 'closed') {
      const path = await pathOf(player.pc);
      if (path) return path;
      await new Promise(resolve => setTimeout(resolve, LOOK_MS));
    }
    return null;
  } finally {
    player.stop();
  }
}

/**
 * @param {RTCPeerConnection | null} pc
 * @returns {Promise<Path | null>}
 */
async function pathOf(pc) {
  if (pc?.connectionState !== 'connected') return null;
  /** @type {Map<string, any>} */
  const report = new Map();
  for (const [id, entry] of /** @type {any} */ (await pc.getStats())) report.set(id, entry);
  for (const pair of report.values()) {
    if (pair.type !== 'candidate-pair' || !pair.nominated || pair.state !== 'succeeded') continue;
    const remote = report.get(pair.remoteCandidateId);
    const { currentRoundTripTime: seconds } = pair;
    if (!remote || seconds === undefined) continue;
    const { protocol, port } = remote;
    return { protocol, address: remote.address ?? remote.ip, port, roundTripMs: seconds * 1000 };
  }
  return null;
}
