// The path of a connection to the server: when another one is looked for, and by which relays.
//
// To look for one costs a request and some checks, and the old path stays in use until the new one works, so
// a look too many does no harm.

/** How long ICE may be `disconnected` before it is restarted: a lost check or two is nothing. */
const DISCONNECTED_MS = 2000;

/**
 * How long the direct ways are tried alone. Checks by UDP and TCP take a round trip or two, so who
 * needs a relay waits little longer, and who needs none leaves none allocated.
 */
const DIRECT_MS = 2000;

/** How often it is looked whether anything still arrives. */
const LOOK_MS = 400;

/**
 * So many looks in a row with something new, and then so many without: the path is dead. Media and reports
 * come many times a second; browsers notice by their checks alone, two and a half seconds later.
 */
const FLOWING_LOOKS = 8;
const SILENT_LOOKS = 3;

/**
 * How long a path other than UDP is kept before UDP is tried again: soon, as networks come back, and then
 * twice as long each time, as most that block it do so for good.
 */
const FIRST_RETURN_MS = 10_000;
const LONGEST_RETURN_MS = 300_000;

/**
 * How another path is looked for.
 *
 * @typedef {object} Search
 * @property {boolean} byRelays whether relays are asked, too
 * @property {boolean} tcpFirst whether TCP is to be preferred: where UDP has just died, what is left of it is
 *   relays, and they are a detour
 */

/** @type {Search} */
const DIRECT = { byRelays: false, tcpFirst: false };
/** @type {Search} */
const BY_ANY_WAY = { byRelays: true, tcpFirst: true };

/**
 * A description whose candidates are preferred to those of all descriptions before the last restart of ICE.
 *
 * Chromium keeps a pair of candidates that died for four seconds while those that work have a lower
 * priority (RFC 8445 §6.1.2.3), which is the smaller of both ends': so the server's are small numbers
 * that grow with each restart.
 *
 * @param {string} sdp
 * @param {number} restarts
 * @param {boolean} tcpFirst
 */
export function preferLatest(sdp, restarts, tcpFirst) {
  return sdp.replace(/^(a=candidate:\S+ \d+ (\S+)) \d+/gm, (_, begin, protocol) => {
    const isPreferred = (protocol.toLowerCase() === 'tcp') === tcpFirst;
    return `${begin} ${2 * restarts + (isPreferred ? 2 : 1)}`;
  });
}

/**
 * What the statistics say of a path at one time.
 *
 * @typedef {object} Sight
 * @property {number} received bytes, over all pairs of candidates
 * @property {boolean} isDirect by UDP, without a relay
 * @property {boolean} [isRelayed] by a relay
 */

/** Judges a path by what arrives on it. No browser in here. */
export class PathJudge {
  #received = 0;
  #moving = 0;
  #still = 0;
  #returnMs = FIRST_RETURN_MS;
  /** @type {number | null} when UDP is to be tried again */
  #returnAt = null;

  /**
   * Says what to do: `silent` if the path has died, `indirect` if it is time to look for a better one.
   *
   * @param {Sight} sight
   * @param {number} now ms
   * @returns {'silent' | 'indirect' | null}
   */
  look({ received, isDirect }, now) {
    const isMoving = received !== this.#received;
    this.#received = received;
    if (isMoving) {
      this.#moving += 1;
      this.#still = 0;
    } else if (this.#moving >= FLOWING_LOOKS) {
      this.#still += 1;
    } else {
      this.#moving = 0;
    }
    if (this.#still >= SILENT_LOOKS) {
      // Once: what does not come back is for the browser to notice.
      this.#moving = 0;
      this.#still = 0;
      return 'silent';
    }
    if (isDirect) {
      this.#returnAt = null;
      this.#returnMs = FIRST_RETURN_MS;
    } else if (this.#returnAt === null) {
      this.#returnAt = now + this.#returnMs;
    } else if (now >= this.#returnAt) {
      this.#returnMs = Math.min(LONGEST_RETURN_MS, 2 * this.#returnMs);
      this.#returnAt = now + this.#returnMs;
      return 'indirect';
    }
    return null;
  }

  /** The network changed: what was blocked may not be any more. */
  forget() {
    this.#moving = 0;
    this.#still = 0;
    this.#returnMs = FIRST_RETURN_MS;
    this.#returnAt = null;
  }
}

/** Watches over one connection's path. */
export class PathWatch {
  #pc;
  #restart;
  #judge = new PathJudge();
  /** @type {RTCIceServer[]} */
  #relays = [];
  #hasUnaskedRelays = false;
  #restarts = 0;
  #search = DIRECT;
  /** The path in use is that of a relay. */
  #isRelayed = false;
  #timer = 0;
  #lookTimer = 0;
  #onNetwork = () => this.#networkChanged();

  /**
   * @param {RTCPeerConnection} pc
   * @param {() => void} restart restarts ICE
   */
  constructor(pc, restart) {
    this.#pc = pc;
    this.#restart = restart;
    pc.addEventListener('iceconnectionstatechange', () => this.#stateChanged());
    addEventListener('online', this.#onNetwork);
    networkInformation()?.addEventListener('change', this.#onNetwork);
    this.#lookAgain();
  }

  /**
   * Names relays, which are asked by a restart of ICE if no direct way is found. To be called before the
   * answer is applied.
   *
   * @param {RTCIceServer[]} iceServers
   */
  offer(iceServers) {
    if (iceServers.length === 0) return;
    this.#relays = iceServers;
    this.#hasUnaskedRelays = true;
    this.#stateChanged();
  }

  /**
   * The server's description, as it is to be applied.
   *
   * @param {string} sdp
   */
  answer(sdp) {
    return preferLatest(sdp, this.#restarts, this.#search.tcpFirst);
  }

  stop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#lookTimer);
    removeEventListener('online', this.#onNetwork);
    networkInformation()?.removeEventListener('change', this.#onNetwork);
  }

  #stateChanged() {
    clearTimeout(this.#timer);
    const state = this.#pc.iceConnectionState;
    if (state === 'disconnected') {
      this.#timer = setTimeout(() => this.#begin(BY_ANY_WAY), DISCONNECTED_MS);
    } else if (this.#hasUnaskedRelays && (state === 'new' || state === 'checking')) {
      this.#timer = setTimeout(() => this.#begin(BY_ANY_WAY), DIRECT_MS);
    }
  }

  /** @param {Search} search */
  #begin(search) {
    // A restart that finds no way at all fails: a relayed path has to be found anew, too.
    const byRelays = search.byRelays || this.#isRelayed;
    const iceServers = byRelays ? this.#relays : [];
    this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers });
    this.#hasUnaskedRelays = this.#relays.length > 0 && !byRelays;
    this.#restarts += 1;
    this.#search = search;
    this.#restart();
  }

  #networkChanged() {
    this.#judge.forget();
    const state = this.#pc.iceConnectionState;
    if (state !== 'new' && state !== 'closed') this.#begin(DIRECT);
  }

  #lookAgain() {
    this.#lookTimer = setTimeout(async () => {
      if (this.#pc.connectionState === 'closed') return;
      const sight = this.#pc.connectionState === 'connected' ? await seen(this.#pc) : null;
      this.#isRelayed = sight?.isRelayed ?? this.#isRelayed;
      const verdict = sight && this.#judge.look(sight, performance.now());
      if (verdict) this.#begin(verdict === 'silent' ? BY_ANY_WAY : DIRECT);
      this.#lookAgain();
    }, LOOK_MS);
  }
}

/**
 * @param {RTCPeerConnection} pc
 * @returns {Promise<Sight | null>}
 */
async function seen(pc) {
  /** @type {Map<string, any>} */
  const report = new Map();
  for (const [id, entry] of /** @type {any} */ (await pc.getStats())) report.set(id, entry);
  const entries = [...report.values()];
  const pairs = entries.filter(({ type }) => type === 'candidate-pair');
  // Firefox says which pair it uses in the pairs alone.
  const used =
    entries.find(({ selectedCandidatePairId }) => selectedCandidatePairId)?.selectedCandidatePairId ??
    pairs.find(({ nominated, state }) => nominated && state === 'succeeded')?.id;
  const local = report.get(report.get(used)?.localCandidateId);
  if (!local) return null;
  return {
    received: pairs.reduce((sum, { bytesReceived = 0 }) => sum + bytesReceived, 0),
    isDirect: local.protocol === 'udp' && local.candidateType !== 'relay',
    isRelayed: local.candidateType === 'relay',
  };
}

/** Tells of a change from Wi-Fi to mobile, where the browser has it (not in Firefox and Safari). */
export function networkInformation() {
  return /** @type {{connection?: EventTarget}} */ (/** @type {unknown} */ (navigator)).connection;
}
