// How the connection does, on the tiles and in a panel.

import { FAIR_LOSS, gradeInbound, gradeOutbound, StatsReader } from '../stats.js';
import { strings } from '../strings.js';
import { h } from './dom.js';

/**
 * @import { Room } from '../room.js'
 * @import { Sample } from '../stats.js'
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
    for (const seat of this.#stage.visible) {
      const tile = this.#stage.tile(seat.key);
      const mid = seat.track ? this.#room.roster.slotOf(seat.track) : null;
      const inbound = mid === null ? undefined : sample.inbound.get(mid);
      const grade = seat.isSelf ? gradeOutbound(sample) : inbound ? gradeInbound(inbound) : 'good';
      const numbers = inbound
        ? `${text.layer(inbound.width, inbound.height, inbound.fps)} · ${text.bitrate(inbound.bitrate)} · ${text.ratio(inbound.lost)} · ${inbound.codec}`
        : null;
      // What gets lost between the server and us is ours; what halts without, was late before it.
      const isOwn = seat.isSelf || (inbound && inbound.lost > FAIR_LOSS);
      tile?.showQuality(grade, isOwn ? 'own' : 'theirs', this.element.hidden ? null : numbers);
    }
  }

  /** @param {Sample} sample */
  #drawPanel(sample) {
    const layers = sample.outbound
      .filter(({ kind, fps }) => kind === 'video' && fps > 0)
      .sort((a, b) => a.width - b.width)
      .map(
        ({ width, height, fps, bitrate }) => `${text.layer(width, height, fps)} · ${text.bitrate(bitrate)}`,
      );
    /** @type {[string, string[]][]} */
    const rows = [
      [text.roundTrip, [sample.roundTripMs === null ? text.none : text.ms(sample.roundTripMs)]],
      [text.received, [text.bitrate(sample.received)]],
      [text.sent, [text.bitrate(sample.sent)]],
      [text.estimate, [sample.uplinkEstimate === null ? text.none : text.bitrate(sample.uplinkEstimate)]],
      [text.lost, [`↓ ${text.ratio(sample.lost)}  ↑ ${text.ratio(sample.lostUpstream)}`]],
      [text.layers, layers.length > 0 ? layers : [text.none]],
    ];
    this.#list.replaceChildren(
      ...rows.map(([term, values]) =>
        h('div', {}, h('dt', {}, term), ...values.map(value => h('dd', {}, value))),
      ),
    );
  }
}
