// Why somebody's call is as it is: what they wished, what they are sent, and what was decided.

import { chart, element, fact, facts } from './dom.js';
import {
  age,
  BAD_LOSS,
  BAD_QUEUE_SECONDS,
  BAD_ROUND_TRIP_SECONDS,
  BAD_WAIT_SECONDS,
  counted,
  doing,
  going,
  milliseconds,
  percent,
  rate,
  shown,
} from './words.js';

/**
 * @typedef {{rid: string | null, bits_per_second: number, active: boolean}} Layer
 *
 * @typedef {object} Slot
 * @property {string} mid
 * @property {string} kind
 * @property {string} wish
 * @property {number | null} wished_height
 * @property {string | null} publisher
 * @property {string | null} source
 * @property {string} state
 * @property {Layer | null} wanted
 * @property {Layer | null} flows
 * @property {number | null} waiting_seconds
 * @property {number} sent_packets
 * @property {number} nacked_packets
 * @property {number} rtx_packets
 * @property {number} keyframes_asked
 * @property {number | null} loss_ratio
 *
 * @typedef {object} Track
 * @property {string} mid
 * @property {string} source
 * @property {boolean} muted
 * @property {number} receivers
 * @property {Layer[]} layers
 *
 * @typedef {object} Path
 * @property {string} state
 * @property {number} estimate_bits_per_second
 * @property {number} target_bits_per_second
 * @property {number} allocated_bits_per_second
 * @property {number} loss_ratio
 * @property {number} own_loss_ratio
 * @property {number} feedback_seconds
 * @property {number} standing_queue_seconds
 *
 * @typedef {object} Own
 * @property {number} video_share_ratio
 * @property {Track[]} tracks
 * @property {Slot[]} slots
 * @property {Path | null} path
 * @property {{at_seconds: number, what: string}[]} recent
 *
 * @typedef {import('./rooms.js').Session & Own} Report
 *
 * @typedef {{estimate: number, allocated: number}[]} History
 */

/** @param {Layer | null} layer */
function layerWords(layer) {
  if (!layer) return null;
  const flow = layer.active ? rate(layer.bits_per_second) : 'silent';
  return layer.rid ? `${layer.rid}, ${flow}` : flow;
}

/** @param {number | null | undefined} part */
const lossTone = part => ((part ?? 0) > BAD_LOSS ? 'bad' : undefined);

/** How a slot's state looks. @param {Slot} slot */
function slotTone({ state, waiting_seconds: waits }) {
  if (state === 'it flows') return 'good';
  if (state.startsWith('it flows')) return 'doubtful';
  if ((waits ?? 0) > BAD_WAIT_SECONDS || /room|keep up|no packet/.test(state)) return 'bad';
  return undefined;
}

/** @param {Slot} slot @param {(participant: string) => string} nameOf */
function slotView(slot, nameOf) {
  const title = `${nameOf(slot.publisher ?? '')}: ${shown(slot.source ?? slot.kind)}`;
  const wish = { auto: 'whatever is on', nothing: 'nothing' }[slot.wish] ?? 'this one';
  const waits = slot.waiting_seconds == null ? '' : `, for ${slot.waiting_seconds.toFixed(1)} s`;
  return element(
    'li',
    { class: 'card', 'data-tone': slotTone(slot) },
    element('h4', {}, title, element('small', {}, `${slot.kind}, m-line ${slot.mid}`)),
    element('p', { class: 'why' }, slot.state + waits),
    facts(
      fact('wished', slot.wished_height ? `${wish}, ${slot.wished_height} px high` : wish),
      fact('layer wanted', layerWords(slot.wanted)),
      fact('layer that flows', layerWords(slot.flows)),
      fact('packets', slot.sent_packets > 0 ? String(slot.sent_packets) : ''),
      fact('lost before repair', percent(slot.loss_ratio), lossTone(slot.loss_ratio)),
      fact(
        'asked again / sent again',
        slot.nacked_packets ? `${slot.nacked_packets} / ${slot.rtx_packets}` : '',
      ),
      fact('keyframes asked', slot.keyframes_asked ? String(slot.keyframes_asked) : ''),
    ),
  );
}

/** @param {Track} track */
function trackView(track) {
  const isSilent = track.layers.every(({ active }) => !active) && !track.muted;
  const state = track.muted ? 'muted' : isSilent ? 'nothing comes' : 'it comes';
  return element(
    'li',
    { class: 'card', 'data-tone': isSilent ? 'bad' : track.muted ? undefined : 'good' },
    element('h4', {}, shown(track.source), element('small', {}, `m-line ${track.mid}`)),
    element('p', { class: 'why' }, `${state}, ${counted(track.receivers, 'slot shows it', 'slots show it')}`),
    facts(
      ...track.layers.map(layer =>
        fact(`layer ${layer.rid ?? ''}`, layer.active ? rate(layer.bits_per_second) : 'silent'),
      ),
    ),
  );
}

/** @param {Path} path @param {History} history */
function pathView(path, history) {
  const bits = (/** @type {'estimate' | 'allocated'} */ what) => history.map(at => at[what]);
  const queues = path.standing_queue_seconds;
  return element(
    'section',
    { class: 'path' },
    element('h3', {}, 'The way to them'),
    facts(
      fact('state', going(path.state)),
      fact('carries, by estimate', rate(path.estimate_bits_per_second)),
      fact('may be sent now', rate(path.target_bits_per_second)),
      fact('chosen layers cost', rate(path.allocated_bits_per_second)),
      fact('lost', percent(path.loss_ratio), lossTone(path.loss_ratio)),
      fact('queue', milliseconds(queues), queues > BAD_QUEUE_SECONDS ? 'bad' : undefined),
      fact('feedback after', milliseconds(path.feedback_seconds)),
    ),
    history.length > 2 &&
      chart('What the way to them carries and what the chosen layers cost, since this page looks', [
        { key: 'estimate', name: 'carries', values: bits('estimate') },
        { key: 'allocated', name: 'layers cost', values: bits('allocated') },
      ]),
  );
}

/** @param {string} title @param {string} none @param {Element[]} cards */
const cardsView = (title, none, cards) =>
  element(
    'section',
    {},
    element('h3', {}, title),
    cards.length ? element('ul', { class: 'cards' }, ...cards) : element('p', { class: 'quiet' }, none),
  );

/** Slots that show something each on a card, and the others together. @param {Slot[]} slots @param {(participant: string) => string} nameOf */
function receivesView(slots, nameOf) {
  const isIdle = (/** @type {Slot} */ slot) => slot.publisher === null;
  const busy = slots.filter(slot => !isIdle(slot)).map(slot => slotView(slot, nameOf));
  const idle = slots.filter(isIdle).map(({ mid }) => mid);
  const none = slots.length === 0 ? 'They receive nothing.' : 'No slot shows anything.';
  const lines = `${idle.length === 1 ? 'm-line' : 'm-lines'} ${idle.join(', ')}`;
  return element(
    'section',
    {},
    cardsView('Receives', none, busy),
    busy.length > 0 &&
      idle.length > 0 &&
      element(
        'p',
        { class: 'quiet' },
        `${counted(idle.length, 'further slot shows', 'further slots show')} nothing: nothing is published for ${idle.length === 1 ? 'it' : 'them'} (${lines}).`,
      ),
  );
}

/** @param {string} room @param {string} participant */
function recordView(room, participant) {
  const path = `rooms/${encodeURIComponent(room)}/participants/${encodeURIComponent(participant)}/record`;
  const url = `${location.origin}/${path}`;
  return element(
    'details',
    {},
    element('summary', {}, 'Record what happens, and replay it'),
    element(
      'pre',
      { tabindex: 0 },
      `curl -X POST '${url}?seconds=60'\ncurl -X DELETE '${url}' > call.json\nplenum replay call.json`,
    ),
    element('p', { class: 'quiet' }, 'Headers, reports and decisions; no sound, no picture, no address.'),
  );
}

/**
 * @param {string} room
 * @param {Report} report
 * @param {(participant: string) => string} nameOf
 * @param {History} history
 */
export function sessionView(room, report, nameOf, history) {
  const { participant, connected, round_trip_seconds: trip, video_share_ratio: share } = report;
  const recent = report.recent
    .toReversed()
    .map(({ at_seconds: at, what }) =>
      element(
        'li',
        { 'data-key': `${at} ${what}` },
        element('time', {}, `${age(Math.max(0, report.age_seconds - at))} ago`),
        ' ',
        what,
      ),
    );
  const tripTone = (trip ?? 0) > BAD_ROUND_TRIP_SECONDS ? 'bad' : undefined;
  return element(
    'article',
    { class: 'report' },
    element('h2', {}, nameOf(participant), element('small', {}, `in ${room}`)),
    facts(
      fact('participant', participant),
      fact('does', doing(report.door)),
      fact('for', age(report.age_seconds)),
      fact('transport', connected ? 'is up' : 'is not up yet', connected ? undefined : 'bad'),
      fact('lost before repair', percent(report.loss_ratio), lossTone(report.loss_ratio)),
      fact('round trip', milliseconds(trip), tripTone),
    ),
    share < 1 &&
      element(
        'p',
        { class: 'notice' },
        `The server does not keep up: ${percent(share)} of the video is forwarded to them, and all sound.`,
      ),
    receivesView(report.slots, nameOf),
    cardsView('Sends', 'They send nothing.', report.tracks.map(trackView)),
    report.path && pathView(report.path, history),
    element(
      'section',
      {},
      element('h3', {}, 'Lately'),
      element('ol', { class: 'recent', reversed: true }, ...recent),
    ),
    recordView(room, participant),
  );
}
