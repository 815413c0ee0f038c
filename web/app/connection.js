// The button in the lobby that tells whether a call would work from here.

import { testConnection } from '../connection-test.js';
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
        const [grade, sentence] = await check(room);
        result.dataset.grade = grade;
        result.textContent = sentence;
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
 * @returns {Promise<[string, string]>} a grade and a sentence
 */
async function check(room) {
  try {
    const path = await testConnection(room, { token: tokenOfPage() });
    if (!path) return ['poor', text.blocked];
    const place = `${path.address.includes(':') ? `[${path.address}]` : path.address}:${path.port}`;
    if (path.protocol !== 'udp') return ['fair', text.tcp(place, path.roundTripMs)];
    const isSlow = path.roundTripMs > SLOW_MS;
    return [isSlow ? 'fair' : 'good', (isSlow ? text.slow : text.udp)(place, path.roundTripMs)];
  } catch (error) {
    const isRefused = error instanceof HttpError;
    return ['poor', isRefused ? strings.failed.refused(error.message) : strings.failed.unreachable];
  }
}
