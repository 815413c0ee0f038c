// What the connection does, as numbers per second. No DOM in here.

/**
 * @typedef {object} Inbound one slot
 * @property {string} mid
 * @property {'audio' | 'video'} kind
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {number} bitrate bit/s
 * @property {number} lost ratio of packets lost, 0 to 1
 * @property {number} jitterMs how unevenly packets come (RFC 3550 §6.4.1)
 * @property {number} frozenSeconds since the last sample
 * @property {string} codec
 *
 * @typedef {object} Outbound one layer
 * @property {string} rid
 * @property {'audio' | 'video'} kind
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {number} bitrate bit/s
 * @property {boolean} isWanted whether it is to be sent
 * @property {string} limitation `none`, `cpu`, `bandwidth` or `other`
 *
 * @typedef {object} Sample
 * @property {number | null} roundTripMs
 * @property {number | null} uplinkEstimate bit/s
 * @property {number} received bit/s
 * @property {number} sent bit/s
 * @property {number} lost ratio of packets lost on the way to us
 * @property {number} lostUpstream ratio of packets lost on the way from us
 * @property {Map<string, Inbound>} inbound by MID
 * @property {Outbound[]} outbound
 */

/** @typedef {'good' | 'fair' | 'poor'} Grade */

/** Reports of the other side come every second or so (RFC 3550 §6.2). */
const REPORT_EXPIRY_MS = 6000;

/** Turns the counters of a peer connection into rates, from one sample to the next. */
export class StatsReader {
  /** @type {Map<string, any>} */
  #before = new Map();

  /**
   * @param {RTCPeerConnection} pc
   * @returns {Promise<Sample>}
   */
  async sample(pc) {
    /** @type {Map<string, any>} */
    const report = new Map();
    for (const [id, entry] of /** @type {any} */ (await pc.getStats())) report.set(id, entry);
    const before = this.#before;
    this.#before = report;
    /** @type {Sample} */
    const sample = {
      roundTripMs: null,
      uplinkEstimate: null,
      received: 0,
      sent: 0,
      lost: 0,
      lostUpstream: 0,
      inbound: new Map(),
      outbound: [],
    };
    let lost = 0;
    let expected = 0;
    for (const entry of report.values()) {
      const change = new Change(before.get(entry.id), entry);
      if (entry.type === 'inbound-rtp') {
        const inbound = readInbound(change, report);
        if (entry.mid) sample.inbound.set(entry.mid, inbound);
        sample.received += inbound.bitrate;
        lost += change.of('packetsLost');
        expected += change.of('packetsLost') + change.of('packetsReceived');
      } else if (entry.type === 'outbound-rtp') {
        const outbound = readOutbound(change);
        sample.outbound.push(outbound);
        sample.sent += outbound.bitrate;
      } else if (entry.type === 'remote-inbound-rtp') {
        // The last report of a layer that rests stays for good, and says nothing of now.
        const isFresh = report.get(entry.localId)?.timestamp - entry.timestamp < REPORT_EXPIRY_MS;
        if (isFresh) sample.lostUpstream = Math.max(sample.lostUpstream, entry.fractionLost ?? 0);
      } else if (entry.type === 'candidate-pair' && isInUse(entry, report)) {
        if (entry.currentRoundTripTime !== undefined) sample.roundTripMs = entry.currentRoundTripTime * 1000;
        sample.uplinkEstimate = entry.availableOutgoingBitrate ?? null;
      }
    }
    sample.lost = expected > 0 ? Math.max(0, lost) / expected : 0;
    return sample;
  }
}

/**
 * Whether media takes this pair of candidates. Those that it took before stay nominated.
 *
 * @param {any} pair
 * @param {Map<string, any>} report
 */
function isInUse(pair, report) {
  // Firefox has no transports in there, and marks the pair itself.
  const transport = report.get(pair.transportId);
  return transport ? transport.selectedCandidatePairId === pair.id : pair.selected;
}

/** An entry of two reports. */
class Change {
  /**
   * @param {any} before
   * @param {any} now
   */
  constructor(before, now) {
    this.before = before ?? now;
    this.now = now;
    this.seconds = Math.max(0.001, (now.timestamp - this.before.timestamp) / 1000);
  }

  /** @param {string} counter */
  of(counter) {
    return (this.now[counter] ?? 0) - (this.before[counter] ?? 0);
  }

  /** @param {string} counter */
  bitrate(counter) {
    return (this.of(counter) * 8) / this.seconds;
  }
}

/**
 * @param {Change} change
 * @param {Map<string, any>} report
 * @returns {Inbound}
 */
function readInbound(change, report) {
  const { now } = change;
  const expected = change.of('packetsReceived') + change.of('packetsLost');
  return {
    mid: now.mid ?? '',
    kind: now.kind,
    width: now.frameWidth ?? 0,
    height: now.frameHeight ?? 0,
    fps: change.of('framesDecoded') / change.seconds,
    bitrate: change.bitrate('bytesReceived'),
    lost: expected > 0 ? Math.max(0, change.of('packetsLost')) / expected : 0,
    jitterMs: (now.jitter ?? 0) * 1000,
    frozenSeconds: change.of('totalFreezesDuration'),
    codec: report.get(now.codecId)?.mimeType?.split('/')[1] ?? '',
  };
}

/**
 * @param {Change} change
 * @returns {Outbound}
 */
function readOutbound(change) {
  const { now } = change;
  return {
    rid: now.rid ?? '',
    kind: now.kind,
    width: now.frameWidth ?? 0,
    height: now.frameHeight ?? 0,
    fps: change.of('framesSent') / change.seconds,
    bitrate: change.bitrate('bytesSent'),
    isWanted: now.active !== false,
    limitation: now.qualityLimitationReason ?? 'none',
  };
}

/** From here on, pictures visibly suffer in spite of retransmission. */
const FAIR_LOSS = 0.03;
const POOR_LOSS = 0.1;
/** Of a sample of two seconds. Less than this is a hiccup of a busy machine, ours or theirs. */
const FAIR_FROZEN_SECONDS = 0.5;
/** This is noticed by anybody. */
const POOR_FROZEN_SECONDS = 1;

/**
 * How well a slot is received.
 *
 * @param {Inbound} inbound
 * @returns {Grade}
 */
export function gradeInbound({ lost, frozenSeconds }) {
  if (lost > POOR_LOSS || frozenSeconds > POOR_FROZEN_SECONDS) return 'poor';
  if (lost > FAIR_LOSS || frozenSeconds > FAIR_FROZEN_SECONDS) return 'fair';
  return 'good';
}

/** What is lost on the way to us is lost of every picture, though of none as much as of the next. */
const SOME_LOSS = 0.01;

/**
 * Whether it is our own connection that spoils pictures. If most of them suffer at the same time, or
 * several lose something, it is: they come from different people and have nothing in common but the
 * way to us. One that suffers by itself was late or incomplete before it came to the server. One that
 * is alone and loses something lost it on the way to us, unless its sender says otherwise.
 *
 * @param {Sample} sample
 * @param {Set<string>} [explained] slots of people who say that their own connection is bad
 */
export function isOwnFault({ inbound, roundTripMs }, explained) {
  if ((roundTripMs ?? 0) > FAIR_ROUND_TRIP_MS) return true;
  const pictures = [...inbound.values()].filter(
    ({ mid, kind, bitrate }) => kind === 'video' && bitrate > 0 && !explained?.has(mid),
  );
  if (pictures.length === 1) return pictures[0].lost > FAIR_LOSS;
  const bad = pictures.filter(picture => gradeInbound(picture) !== 'good');
  const losing = pictures.filter(({ lost }) => lost > SOME_LOSS);
  return bad.length > pictures.length / 2 || losing.length > 1;
}

/** A conversation becomes halting at round trips above these. */
const FAIR_ROUND_TRIP_MS = 300;
const POOR_ROUND_TRIP_MS = 700;

/**
 * How well we are heard and seen.
 *
 * @param {Sample} sample
 * @returns {Grade}
 */
export function gradeOutbound({ roundTripMs, lostUpstream, outbound }) {
  const roundTrip = roundTripMs ?? 0;
  if (lostUpstream > POOR_LOSS || roundTrip > POOR_ROUND_TRIP_MS) return 'poor';
  // The browser left out a layer because the uplink does not carry it.
  const isLimited = outbound.some(({ kind, limitation, fps, isWanted }) => {
    return kind === 'video' && isWanted && limitation === 'bandwidth' && fps === 0;
  });
  if (lostUpstream > FAIR_LOSS || roundTrip > FAIR_ROUND_TRIP_MS || isLimited) return 'fair';
  return 'good';
}
