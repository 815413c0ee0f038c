// Before the call: how one looks and sounds, and what one is called.

import { strings } from '../strings.js';
import { connectionCheck } from './connection.js';
import { devicePicker, deviceProblems, levelBar } from './devices.js';
import { h, icon, iconButton, newId, setIcon, setLabel } from './dom.js';
import { PassphraseField } from './encrypted.js';
import { wordmark } from './home.js';
import { copyInvite } from './invite.js';
import { prefs, remember } from './prefs.js';

/** @import { LocalMedia } from '../media.js' */

const text = strings.lobby;

/** @type {{mode: 'full' | 'audio' | 'watch', label: string, hint: string, icon: string}[]} */
const MODES = [
  { mode: 'full', label: text.modeFull, hint: text.modeFullHint, icon: 'camera' },
  { mode: 'audio', label: text.modeAudio, hint: text.modeAudioHint, icon: 'speaker' },
  { mode: 'watch', label: text.modeWatch, hint: text.modeWatchHint, icon: 'eye' },
];

/** Before the call. `join` rejects with a sentence to show. */
export class Lobby {
  #video = h('video', { muted: true, autoplay: true, playsInline: true, class: 'preview-video' });
  #placeholder = h('p', { class: 'preview-placeholder' });
  #problems = h('div', { class: 'problem', role: 'alert', hidden: true });
  #hint = h('p', { class: 'hint' });
  #elsewhere = h('p', { class: 'hint elsewhere', role: 'status', hidden: true }, text.elsewhere);
  #media;
  #join;
  #name;
  #button = h('button', { type: 'submit', class: 'primary wide' }, text.join);
  #mic = iconButton({ icon: 'mic', label: '', onclick: () => this.#toggle('audio') });
  #camera = iconButton({ icon: 'camera', label: '', onclick: () => this.#toggle('video') });
  #pickers;
  #passphrase = new PassphraseField();
  #isStarting = false;
  #onChange = () => this.#draw();

  /**
   * @param {{room: string, media: LocalMedia, name: string, join: () => Promise<void>}} options
   */
  constructor({ room, media, name, join }) {
    this.#media = media;
    this.#join = join;
    const id = newId();
    this.#name = h('input', {
      id,
      class: 'field-input',
      value: name,
      maxLength: 64,
      autocomplete: 'name',
      placeholder: text.namePlaceholder,
    });
    this.#pickers = h(
      'div',
      { class: 'pickers' },
      devicePicker(media, 'audioinput', device => media.start('audio', device)),
      devicePicker(media, 'videoinput', device => media.start('video', device)),
      devicePicker(media, 'audiooutput', () => {}),
    );
    this.element = h(
      'main',
      { class: 'lobby' },
      h('header', { class: 'page-header' }, wordmark(), inviteButton(room)),
      h('div', { class: 'lobby-body' }, this.#previewPart(room), this.#formPart(room, id)),
    );
    media.addEventListener('change', this.#onChange);
    this.#start();
  }

  /** To be called when it leaves the page. */
  close() {
    this.#media.removeEventListener('change', this.#onChange);
    this.#video.srcObject = null;
  }

  /**
   * The encryption that was chosen, if any.
   *
   * @param {string} room
   */
  encryption(room) {
    return this.#passphrase.encryption(room);
  }

  /** Tells that another tab of this browser is in the room. */
  showElsewhere() {
    this.#elsewhere.hidden = false;
  }

  /**
   * Shows why joining did not work.
   *
   * @param {string} sentence
   */
  showFailure(sentence) {
    this.#problems.replaceChildren(h('p', {}, sentence));
    this.#problems.hidden = false;
  }

  /** @param {string} room */
  #previewPart(room) {
    const buttons = h('div', { class: 'preview-buttons' }, this.#mic, this.#camera);
    return h(
      'section',
      { class: 'lobby-preview' },
      h('div', { class: 'preview' }, this.#video, this.#placeholder, buttons),
      levelBar(this.#media),
      this.#pickers,
      connectionCheck(room),
    );
  }

  /**
   * @param {string} room
   * @param {string} id
   */
  #formPart(room, id) {
    return h(
      'form',
      { class: 'lobby-form', onsubmit: (/** @type {Event} */ event) => this.#submit(event) },
      h('p', { class: 'eyebrow' }, text.heading),
      h('h1', { class: 'room-name' }, room),
      h('label', { for: id, class: 'field-label' }, text.name),
      this.#name,
      h(
        'fieldset',
        { class: 'modes' },
        h('legend', { class: 'field-label' }, text.mode),
        ...this.#modeOptions(),
      ),
      this.#hint,
      this.#passphrase.element,
      this.#elsewhere,
      this.#problems,
      this.#button,
    );
  }

  #modeOptions() {
    return MODES.map(({ mode, label, icon: name }) => {
      const radio = h('input', { type: 'radio', name: 'mode', value: mode, checked: prefs.mode === mode });
      radio.addEventListener('change', () => {
        remember({ mode });
        this.#start();
      });
      return h('label', { class: 'mode' }, radio, icon(name), h('span', {}, label));
    });
  }

  /** Starts what the chosen mode and the remembered choices want. */
  async #start() {
    const media = this.#media;
    const wantsAudio = prefs.mode !== 'watch' && prefs.mic;
    const wantsVideo = prefs.mode === 'full' && prefs.camera;
    media.problems.audio = null;
    media.problems.video = null;
    if (!wantsAudio) media.stop('audio');
    if (!wantsVideo) media.stop('video');
    this.#isStarting = true;
    this.#draw();
    // One after the other, so that the browser asks two clear questions and one refusal is not two.
    if (wantsVideo && !media.tracks.video) await media.start('video', prefs.cameraId);
    if (wantsAudio && !media.tracks.audio) await media.start('audio', prefs.microphoneId);
    this.#isStarting = false;
    this.#draw();
  }

  /** @param {'audio' | 'video'} kind */
  #toggle(kind) {
    const isOn = this.#media.tracks[kind] !== null;
    if (kind === 'audio') remember({ mic: !isOn });
    else remember({ camera: !isOn });
    this.#start();
  }

  #draw() {
    const { tracks } = this.#media;
    showTrack(this.#video, tracks.video);
    this.#video.classList.toggle('mirrored', prefs.mirror);
    this.#placeholder.hidden = tracks.video !== null;
    this.#placeholder.textContent = this.#placeholderText();
    drawSwitch(this.#mic, tracks.audio !== null, 'mic', strings.bar.mute, strings.bar.unmute);
    drawSwitch(this.#camera, tracks.video !== null, 'camera', strings.bar.cameraOff, strings.bar.cameraOn);
    this.#mic.hidden = prefs.mode === 'watch';
    this.#camera.hidden = prefs.mode !== 'full';
    this.#pickers.hidden = prefs.mode === 'watch';
    this.#hint.textContent = MODES.find(({ mode }) => mode === prefs.mode)?.hint ?? '';
    const sentences = deviceProblems(this.#media);
    this.#problems.hidden = sentences.length === 0;
    const retry = h('button', { type: 'button', class: 'plain', onclick: () => this.#start() }, text.retry);
    this.#problems.replaceChildren(...sentences.map(sentence => h('p', {}, sentence)), retry);
  }

  #placeholderText() {
    if (prefs.mode === 'watch') return text.watching;
    if (this.#isStarting && prefs.mode === 'full' && prefs.camera) return text.starting;
    return text.cameraOff;
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault();
    remember({ name: this.#name.value.trim() });
    this.#button.disabled = true;
    this.#button.textContent = text.joining;
    try {
      await this.#join();
    } finally {
      this.#button.disabled = false;
      this.#button.textContent = text.join;
    }
  }
}

/** @param {string} room */
function inviteButton(room) {
  return h(
    'button',
    { type: 'button', class: 'quiet', onclick: () => copyInvite(room) },
    icon('link'),
    strings.invite.copy,
  );
}

/**
 * @param {HTMLElement} button
 * @param {boolean} isOn
 * @param {string} name of the icon
 * @param {string} off label when it is on
 * @param {string} on label when it is off
 */
function drawSwitch(button, isOn, name, off, on) {
  button.classList.toggle('is-off', !isOn);
  setLabel(button, isOn ? off : on);
  if (button.firstElementChild) setIcon(button.firstElementChild, isOn ? name : `${name}-off`);
}

/**
 * @param {HTMLVideoElement} video
 * @param {MediaStreamTrack | null} track
 */
function showTrack(video, track) {
  const shown = video.srcObject instanceof MediaStream ? video.srcObject.getVideoTracks()[0] : null;
  if (shown !== track) video.srcObject = track ? new MediaStream([track]) : null;
  video.hidden = track === null;
}
