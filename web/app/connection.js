// The button in the lobby that tells whether a call would work from here.

import { HttpError } from '../session.js';
import { strings } from '../strings.js';
import { tokenOfPage } from './address.js';
import { h, icon } from './dom.js';

const text = strings.connection;

/** From here on, people begin to talk at the same time. */
const SLOW_MS = 300;

/** @param {string} room */
export function connectionCheck(room) {
  const result = h('p', { class: 'check-result', role: 'status' });
  const button = h(
    'button',
    {
      type: 'button',
      class: 'quiet',
      onclick: async () => {
        button.disabled = true;
        result.dataset.grade = '';
        result.textContent = text.checking;
        const { grade, sentence, ways } = await check(room);
        result.dataset.grade = grade;
        result.replaceChildren(sentence, ...(ways ? [h('br'), h('small', {}, ways)] : []));
        button.disabled = false;
      },
    },
    icon('signal'),
    text.check,
  );
  return h('div', { class: 'check' }, button, result);
}

/**
 * @param {string} room
 * @returns {Promise<{grade: string, sentence: string, ways?: string}>} the ways one by one, where there are several
 */
async function check(room) {
  try {
    // Few ask, so nobody has it before they do.
    const { testConnection } = await import('../connection-test.js');
    const trials = await testConnection(room, { token: tokenOfPage() });
    const best = trials.find(({ roundTripMs }) => roundTripMs !== null);
    const ways = trials.length > 1 ? trials.map(describe).join(' · ') : undefined;
    if (!best) return { grade: 'poor', sentence: text.blocked, ways };
    const { place, roundTripMs } = best;
    const isSlow = (roundTripMs ?? 0) > SLOW_MS;
    const sayings = { udp: isSlow ? text.slow : text.udp, tcp: text.tcp };
    const say = sayings[/** @type {'udp'} */ (best.way)] ?? text.relay;
    const grade = best.way === 'udp' && !isSlow ? 'good' : 'fair';
    return { grade, sentence: say(place, roundTripMs ?? 0), ways };
  } catch (error) {
    const isRefused = error instanceof HttpError;
    const sentence = isRefused ? strings.failed.refused(error.message) : strings.failed.unreachable;
    return { grade: 'poor', sentence };
  }
}

/** @param {import('../connection-test.js').Trial} trial */
function describe({ way, roundTripMs }) {
  const name = way.toUpperCase().replace('-', '/');
  return `${name} ${roundTripMs === null ? '✗' : `${Math.round(roundTripMs)} ms`}`;
}
