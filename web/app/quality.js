// How the connection does, on the tiles and in a panel.

import { gradeInbound, gradeOutbound, isOwnFault, StatsReader } from '../stats.js';
import { strings } from '../strings.js';
import { h } from './dom.js';

/**
 * @import { Room } from '../room.js'
 * @import { Grade, Sample } from '../stats.js'
 * @import { Stage } from './stage.js'
 */

const text = strings.stats;

/** Often enough to see a change as it happens, rarely enough to cost nothing. */
const SAMPLE_MS = 2000;

/** Samples the connection while the call is on the page. */
export class Quality {
  #room;
  #stage;
  #reader = new StatsReader();
  #list = h('dl', {});
  #timer;
  /** @type {Map<string, Grade>} what the last sample said of each seat */
  #before = new Map();
  element = h('section', { class: 'stats', 'aria-label': text.label, hidden: true }, this.#list);

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
    const isOwnPath = isOwnFault(sample);
    /** @type {Map<string, Grade>} */
    const grades = new Map();
    for (const seat of this.#stage.visible) {
      const tile = this.#stage.tile(seat.key);
      const mid = seat.track ? roster.slotOf(seat.track) : null;
      const inbound = mid === null ? undefined : sample.inbound.get(mid);
      const numbers = inbound && !this.element.hidden ? numbersOf(inbound) : null;
      if (mid !== null && roster.halted.has(mid)) {
        tile?.showQuality('halted', 'own', numbers);
        continue;
      }
      const grade = seat.isSelf ? gradeOutbound(sample) : inbound ? gradeInbound(inbound) : 'good';
      grades.set(seat.key, grade);
      // One bad sample is a hiccup of somebody's machine: what is said of a connection holds for two.
      const shown = this.#before.has(seat.key) ? better(grade, this.#before.get(seat.key)) : 'good';
      const isOwn = seat.isSelf || isOwnPath || (inbound && isOwnFault(sample, inbound));
      tile?.showQuality(shown, isOwn ? 'own' : 'theirs', numbers);
    }
    this.#before = grades;
  }

  /** @param {Sample} sample */
  #drawPanel(sample) {
    const layers = sample.outbound
      .filter(({ kind, fps }) => kind === 'video' && fps > 0)
      .sort((a, b) => a.width - b.width)
      .map(
        ({ rid, width, height, fps, bitrate }) =>
          `${rid} ${text.layer(width, height, fps)} · ${text.bitrate(bitrate)}`,
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
 * @param {Grade} a
 * @param {Grade | undefined} b
 * @returns {Grade}
 */
function better(a, b) {
  if (a === 'good' || b === 'good') return 'good';
  return a === 'poor' && b === 'poor' ? 'poor' : 'fair';
}
