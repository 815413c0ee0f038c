// Choosing devices, before joining and during the call.

import { LevelMeter } from '../media.js';
import { strings } from '../strings.js';
import { h, icon, newId } from './dom.js';
import { prefs, remember } from './prefs.js';

/** @import { LocalMedia } from '../media.js' */

const text = strings.device;

/**
 * @typedef {'audioinput' | 'videoinput' | 'audiooutput'} Choice
 */

/** @type {Record<Choice, {label: string, icon: string, pref: 'microphoneId' | 'cameraId' | 'speakerId'}>} */
const CHOICES = {
  audioinput: { label: text.microphone, icon: 'mic', pref: 'microphoneId' },
  videoinput: { label: text.camera, icon: 'camera', pref: 'cameraId' },
  audiooutput: { label: text.speaker, icon: 'speaker', pref: 'speakerId' },
};

/** How often a level that is not shown looks whether it is again. */
const LEVEL_IDLE_MS = 200;

/** Whether this browser can play through a chosen loudspeaker. */
const canChooseSpeaker = () => 'setSinkId' in HTMLMediaElement.prototype;

/**
 * A drop-down of the devices of a kind, hidden while there is none to choose.
 *
 * @param {LocalMedia} media
 * @param {Choice} kind
 * @param {(deviceId: string) => void} choose
 */
export function devicePicker(media, kind, choose) {
  const { label, icon: name, pref } = CHOICES[kind];
  const id = newId();
  const select = h('select', {
    id,
    class: 'field-input',
    onchange: () => {
      remember({ [pref]: select.value });
      choose(select.value);
    },
  });
  const caption = h('label', { for: id, class: 'field-label' }, icon(name), label);
  const row = h('div', { class: 'picker' }, caption, select);
  const fill = () => {
    const devices = media.list(kind);
    const isSpeaker = kind === 'audiooutput';
    row.hidden = devices.length === 0 || (isSpeaker && !canChooseSpeaker());
    const options = devices.map((device, index) =>
      h('option', { value: device.deviceId }, device.label || text.unnamed(index + 1)),
    );
    if (isSpeaker && !devices.some(({ deviceId }) => deviceId === 'default')) {
      options.unshift(h('option', { value: '' }, text.systemDefault));
    }
    select.replaceChildren(...options);
    const inUse = { audioinput: media.tracks.audio, videoinput: media.tracks.video, audiooutput: null }[kind];
    select.value = inUse?.getSettings().deviceId ?? prefs[pref];
    if (select.selectedIndex < 0) select.selectedIndex = 0;
  };
  fill();
  media.addEventListener('devices', fill);
  media.addEventListener('change', fill);
  return row;
}

/**
 * A bar that follows the microphone, as long as it is in the page.
 *
 * @param {LocalMedia} media
 */
export function levelBar(media) {
  const fill = h('span', { class: 'level-fill' });
  const bar = h('div', { class: 'level', role: 'meter', 'aria-label': strings.lobby.level }, fill);
  bar.setAttribute('aria-valuemin', '0');
  bar.setAttribute('aria-valuemax', '100');
  /** @type {LevelMeter | null} */
  let meter = null;
  /** @type {MediaStreamTrack | null} */
  let metered = null;
  let shown = 0;
  let wasInPage = false;
  const draw = () => {
    if (wasInPage && !bar.isConnected) {
      meter?.close();
      return;
    }
    wasInPage = bar.isConnected;
    // In a closed menu nothing is measured.
    const track = bar.checkVisibility() ? media.tracks.audio : null;
    if (track !== metered) {
      meter?.close();
      meter = track ? new LevelMeter(track) : null;
      metered = track;
    }
    // Falls slower than it rises, so that speech is a movement and not a flicker; what is off is silent at once.
    shown = meter ? Math.max(meter.level(), shown * 0.92) : 0;
    fill.style.setProperty('--level', shown.toFixed(3));
    bar.setAttribute('aria-valuenow', String(Math.round(shown * 100)));
    if (track) requestAnimationFrame(draw);
    else setTimeout(draw, LEVEL_IDLE_MS);
  };
  requestAnimationFrame(draw);
  return bar;
}

/**
 * A drop-down of a few words.
 *
 * @template {string} T
 * @param {{label: string, icon: string, options: Record<T, string>, value: T, choose: (value: T) => void}} options
 */
export function choice({ label, icon: name, options, value, choose }) {
  const id = newId();
  const select = h('select', {
    id,
    class: 'field-input',
    onchange: () => choose(/** @type {T} */ (select.value)),
  });
  for (const [key, words] of Object.entries(options))
    select.append(h('option', { value: key }, String(words)));
  select.value = value;
  return h(
    'div',
    { class: 'picker' },
    h('label', { for: id, class: 'field-label' }, icon(name), label),
    select,
  );
}

/**
 * A switch with a label.
 *
 * @param {string} label
 * @param {boolean} checked
 * @param {(checked: boolean) => void} onchange
 */
export function toggle(label, checked, onchange) {
  const box = h('input', {
    type: 'checkbox',
    role: 'switch',
    checked,
    onchange: () => onchange(box.checked),
  });
  return h('label', { class: 'toggle' }, box, h('span', { class: 'toggle-track' }), label);
}

/**
 * Sentences for what cannot be used now.
 *
 * @param {LocalMedia} media
 * @returns {string[]}
 */
export function deviceProblems(media) {
  const { audio, video } = media.problems;
  if (audio && audio === video) return [text.problems.both[audio]];
  const sentences = [];
  if (audio) sentences.push(text.problems.audio[audio]);
  if (video) sentences.push(text.problems.video[video]);
  return sentences;
}
