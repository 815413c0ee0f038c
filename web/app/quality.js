// How the connection does, on the tiles and in a panel.

import { gradeInbound, gradeOutbound, isOwnFault, StatsReader } from '../stats.js';
import { strings } from '../strings.js';
import { h } from './dom.js';

/**
 * @import { Room } from '../room.js'
 * @import { Participant } from '../roster.js'
 * @import { Grade, Sample } from '../stats.js'
 * @import { Stage } from './stage.js'
 */

const text = strings.stats;

/** Often enough to see a change as it happens, rarely enough to cost nothing. */
const SAMPLE_MS = 2000;
/** So long a browser finds out what its path carries, and sends less until then. */
const SETTLE_MS = 8000;
/** A connection that is sometimes good and sometimes not is told of this often, to everyone in the room. */
const TELL_MS = 10_000;

/** Samples the connection while the call is on the page. */
export class Quality {
  #room;
  #stage;
  #reader = new StatsReader();
  #list = h('dl', {});
  #timer;
  /** @type {Map<string, Grade>} what the last sample said of each seat */
  #before = new Map();
  #since = performance.now();
  /** @type {Grade} */
  #told = 'good';
  #toldAt = Number.NEGATIVE_INFINITY;
  element = h(
    'section',
    // Where the window is low it scrolls, and the keyboard has to come to it for that.
    { class: 'stats', 'aria-label': text.label, tabIndex: 0, hidden: true },
    this.#list,
  );

  /**
   * @param {Room} room
   * @param {Stage} stage
   */
  constructor(room, stage) {
    this.#room = room;
    this.#stage = stage;
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  toggle() {
    this.element.hidden = !this.element.hidden;
    this.#sample();
  }

  close() {
    clearInterval(this.#timer);
  }

  async #sample() {
    const { pc } = this.#room;
    if (!pc || pc.connectionState === 'closed' || document.hidden) return;
    const sample = await this.#reader.sample(pc);
    this.#drawTiles(sample);
    if (!this.element.hidden) this.#drawPanel(sample);
  }

  /** @param {Sample} sample */
  #drawTiles(sample) {
    const { roster } = this.#room;
    const before = this.#before;
    this.#before = new Map();
    // One bad sample is a hiccup of somebody's machine: what is said of a connection holds for two.
    const holding = (/** @type {string} */ key, /** @type {Grade} */ grade) => {
      this.#before.set(key, grade);
      return better(grade, before.get(key));
    };
    const isSettled = performance.now() > this.#since + SETTLE_MS;
    const own = holding('self', isSettled ? gradeOutbound(sample) : 'good');
    this.#tell(own);
    const said = (/** @type {string} */ participant) => saidOf(roster.participants.get(participant));
    const explained = [...roster.bindings.values()].filter(
      ({ participant }) => participant && said(participant),
    );
    const isOwn = own !== 'good' || isOwnFault(sample, new Set(explained.map(({ mid }) => mid)));
    for (const { key, track, participant, isSelf } of this.#stage.visible) {
      const tile = this.#stage.tile(key);
      const mid = track ? roster.slotOf(track) : null;
      const inbound = mid === null ? undefined : sample.inbound.get(mid);
      const numbers = inbound && !this.element.hidden ? numbersOf(inbound) : null;
      if (isSelf) tile?.showQuality(own, 'own', null);
      else if (mid !== null && roster.halted.has(mid)) tile?.showQuality('halted', 'own', numbers);
      else {
        const received = holding(key, inbound ? gradeInbound(inbound) : 'good');
        const theirs = said(participant);
        tile?.showQuality(theirs ?? received, theirs || !isOwn ? 'theirs' : 'own', numbers);
      }
    }
  }

  /**
   * Lets the others know how well they receive us: what spoils a picture before it comes to the
   * server, they can only guess.
   *
   * @param {Grade} grade
   */
  #tell(grade) {
    const now = performance.now();
    if (grade === this.#told || now < this.#toldAt + TELL_MS) return;
    this.#told = grade;
    this.#toldAt = now;
    this.#room.describe({ ...this.#room.attributes, link: grade === 'good' ? null : grade });
  }

  /** @param {Sample} sample */
  #drawPanel(sample) {
    const layers = sample.outbound
      .filter(({ kind, fps }) => kind === 'video' && fps > 0)
      .sort((a, b) => a.width - b.width)
      .map(
        ({ rid, width, height, fps, bitrate }) =>
          `${rid && `${rid} `}${text.layer(width, height, fps)} · ${text.bitrate(bitrate)}`,
      );
    const jitterMs = Math.max(0, ...[...sample.inbound.values()].map(inbound => inbound.jitterMs));
    /** @type {[string, string[]][]} */
    const rows = [
      [text.roundTrip, [sample.roundTripMs === null ? text.none : text.ms(sample.roundTripMs)]],
      [text.received, [text.bitrate(sample.received)]],
      [text.sent, [text.bitrate(sample.sent)]],
      [text.estimate, [sample.uplinkEstimate === null ? text.none : text.bitrate(sample.uplinkEstimate)]],
      [text.lost, [`↓ ${text.ratio(sample.lost)}  ↑ ${text.ratio(sample.lostUpstream)}`]],
      [text.jitter, [text.ms(jitterMs)]],
      [text.layers, layers.length > 0 ? layers : [text.none]],
    ];
    this.#list.replaceChildren(
      ...rows.map(([term, values]) =>
        h('div', {}, h('dt', {}, term), ...values.map(value => h('dd', {}, value))),
      ),
    );
  }
}

/** @param {import('../stats.js').Inbound} inbound */
function numbersOf({ width, height, fps, bitrate, lost, jitterMs, codec }) {
  const path = [text.lostOf(text.ratio(lost)), text.jitterOf(text.ms(jitterMs))];
  return [text.layer(width, height, fps), text.bitrate(bitrate), ...path, codec].join(' · ');
}

/**
 * What somebody's page says of how well they are received, if that is bad.
 *
 * @param {Participant | undefined} participant
 * @returns {Grade | null}
 */
function saidOf(participant) {
  const link = participant?.attributes?.link;
  return link === 'fair' || link === 'poor' ? link : null;
}

/**
 * @param {Grade} a
 * @param {Grade | undefined} b
 * @returns {Grade}
 */
function better(a, b) {
  if (a === 'good' || !b || b === 'good') return 'good';
  return a === 'poor' && b === 'poor' ? 'poor' : 'fair';
}
