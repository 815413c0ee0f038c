// The server as a whole: whether it takes anybody, and what it has left.

import { bar, element } from './dom.js';
import { age, percent, size, taking } from './words.js';

/**
 * @typedef {object} Overview
 * @property {string} version
 * @property {number} age_seconds
 * @property {string | null} refuses
 * @property {number | null} memory_bytes
 * @property {number | null} memory_limit_bytes
 * @property {number} max_memory_ratio
 * @property {number} max_load_ratio
 * @property {{shard: number, load_ratio: number, video_share_ratio: number}[]} shards
 */

/**
 * @param {string} name
 * @param {string} value
 * @param {string} note
 * @param {{part?: number, limit?: number | null, tone?: string}} [more]
 */
function gauge(name, value, note, { part, limit = null, tone } = {}) {
  return element(
    'li',
    { class: 'gauge', 'data-tone': tone },
    element('span', { class: 'gauge-name' }, name),
    element('strong', {}, value),
    part != null && bar(part, limit, tone),
    element('span', { class: 'gauge-note' }, note),
  );
}

/** @param {Overview['shards'][number]} shard @param {number} limit @param {boolean} isOnly */
function load({ shard, load_ratio: part, video_share_ratio: share }, limit, isOnly) {
  const name = isOnly ? 'Load' : `Load of shard ${shard}`;
  if (share < 1) {
    const note = `It does not keep up: ${percent(share)} of the video is forwarded, and all sound`;
    return gauge(name, percent(part), note, { part, limit, tone: 'bad' });
  }
  const tone = limit < 1 && part > limit ? 'doubtful' : undefined;
  const note = tone ? 'Its rooms take nobody' : 'All video is forwarded';
  return gauge(name, percent(part), note, { part, limit, tone });
}

/** @param {Overview} server */
function memory({ memory_bytes: has, memory_limit_bytes: most, max_memory_ratio: limit }) {
  if (has == null || most == null) return null;
  const part = has / most;
  const tone = limit < 1 && part > limit ? 'bad' : undefined;
  return gauge('Memory', size(has), `of ${size(most)}`, { part, limit, tone });
}

/**
 * @param {Overview} server
 * @param {{rooms: number, sessions: number}} counts
 */
export function serverView(server, { rooms, sessions }) {
  const isOnly = server.shards.length === 1;
  return element(
    'ul',
    { class: 'gauges' },
    gauge('Sessions', String(sessions), rooms === 1 ? 'in one room' : `in ${rooms} rooms`),
    gauge('Newcomers', server.refuses ? 'refused' : 'welcome', taking(server.refuses), {
      tone: server.refuses ? 'bad' : undefined,
    }),
    ...server.shards.map(shard => load(shard, server.max_load_ratio, isOnly)),
    memory(server),
    gauge('Running for', age(server.age_seconds), `version ${server.version}`),
  );
}
