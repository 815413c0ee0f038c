// The player page: /watch/{room}[/{participant}], made to be put into other pages.
// ?autoplay=0 waits for a click, ?muted starts without sound, ?controls=0 shows nothing but the picture.

import { strings } from '../strings.js';
import { WhepPlayer } from '../whep.js';
import { addressOf, placeOfPath, switchOfPage, tokenOfPage } from './address.js';
import { h, icon, iconButton, setIcon, setLabel } from './dom.js';

const text = strings.watch;

/** How often it is looked whether something comes in. */
const LOOK_MS = 500;
/** Silence of the network that is no pause of the encoder any more: a keyframe may be two seconds away. */
const QUIET_LOOKS = 6;
/** How long the controls stay after the pointer rests. */
const IDLE_MS = 2500;

/** A player with its controls. */
class WatchPage {
  #place;
  #video = h('video', { playsInline: true, class: 'watch-video', 'aria-label': text.player });
  #status = h('p', { role: 'status' });
  #hint = h('p', { class: 'watch-hint' });
  #cover = h('div', { class: 'watch-cover' }, icon('logo'), this.#status, this.#hint);
  #live = h('span', { class: 'live-badge', hidden: true }, text.live);
  #big = h(
    'button',
    { type: 'button', class: 'watch-play', 'aria-label': text.play, onclick: () => this.#play() },
    icon('play'),
  );
  #sound = h(
    'button',
    { type: 'button', class: 'plain watch-sound', hidden: true, onclick: () => this.#setMuted(false) },
    icon('speaker'),
    text.unmute,
  );
  #playing = iconButton({ icon: 'play', label: text.play, onclick: () => this.#toggle() });
  #mute = iconButton({
    icon: 'speaker',
    label: text.mute,
    onclick: () => this.#setMuted(!this.#video.muted),
  });
  #volume = h('input', {
    type: 'range',
    class: 'volume',
    max: '1',
    step: '0.05',
    value: '1',
    'aria-label': text.volume,
    oninput: () => this.#setVolume(),
  });
  /** @type {WhepPlayer | null} */
  #player = null;
  #timer = 0;
  #idleTimer = 0;
  #received = { audio: 0, video: 0 };
  #quietLooks = QUIET_LOOKS;

  /** @param {{room: string, participant: string | null}} place */
  constructor(place) {
    this.#place = place;
    this.#video.muted = switchOfPage('muted', false);
    const isBare = !switchOfPage('controls', true);
    this.element = h(
      'main',
      { class: isBare ? 'watch is-bare' : 'watch' },
      this.#video,
      this.#cover,
      this.#big,
      this.#sound,
      this.#live,
      !isBare && this.#controls(),
    );
    this.element.addEventListener('pointermove', () => this.#stir());
    this.element.addEventListener('focusin', () => this.#stir());
    this.#drawSound();
    this.#draw('idle');
    // A picture that is waited for would keep the page loading, and the browser's sign of it turning.
    if (switchOfPage('autoplay', true)) addEventListener('load', () => this.#play(), { once: true });
  }

  #controls() {
    const canFill = document.fullscreenEnabled;
    const canFloat = document.pictureInPictureEnabled;
    const full = () =>
      document.fullscreenElement ? document.exitFullscreen() : this.element.requestFullscreen();
    return h(
      'div',
      { class: 'watch-controls', role: 'group', 'aria-label': strings.bar.label },
      this.#playing,
      this.#mute,
      this.#volume,
      h('span', { class: 'watch-space' }),
      canFloat && iconButton({ icon: 'pip', label: strings.bar.pip, onclick: () => this.#float() }),
      canFill &&
        iconButton({ icon: 'full', label: strings.bar.fullScreen, onclick: () => full().catch(() => {}) }),
    );
  }

  #toggle() {
    if (this.#player) this.#stop();
    else this.#play();
  }

  async #play() {
    const { room, participant } = this.#place;
    const player = new WhepPlayer(addressOf('whep', room, participant), { token: tokenOfPage() });
    this.#player = player;
    player.addEventListener('state', () => player === this.#player && this.#look());
    player.addEventListener('error', event => this.#fail(player, /** @type {CustomEvent} */ (event).detail));
    this.#video.srcObject = player.stream;
    this.#draw('connecting');
    this.#start();
    try {
      await player.play();
      this.#timer = setInterval(() => this.#look(), LOOK_MS);
    } catch (error) {
      this.#fail(player, error);
    }
  }

  /** Starts the element; without sound, if the browser wants a click first. */
  async #start() {
    try {
      await this.#video.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== 'NotAllowedError' || this.#video.muted) return;
      this.#video.muted = true;
      this.#sound.hidden = false;
      this.#drawSound();
      await this.#video.play().catch(() => {});
    }
  }

  #stop() {
    clearInterval(this.#timer);
    this.#player?.stop();
    this.#player = null;
    this.#video.srcObject = null;
    this.#draw('idle');
  }

  /**
   * @param {WhepPlayer} player
   * @param {unknown} error
   */
  #fail(player, error) {
    if (player !== this.#player) return;
    this.#stop();
    const isRefused = error instanceof Error && error.name === 'HttpError';
    this.#status.textContent = isRefused ? strings.failed.refused(error.message) : strings.failed.unreachable;
    this.#cover.hidden = false;
    this.#big.setAttribute('aria-label', text.again);
  }

  /** Looks whether anything comes in, and says so. */
  async #look() {
    const player = this.#player;
    if (!player) return;
    if (player.state !== 'connected') {
      this.#draw(player.state === 'reconnecting' ? 'reconnecting' : 'connecting');
      return;
    }
    const received = await packetsOf(player.pc);
    if (player !== this.#player) return;
    const before = this.#received;
    this.#received = received;
    const comes = received.audio > before.audio || received.video > before.video;
    this.#quietLooks = comes ? 0 : this.#quietLooks + 1;
    if (this.#quietLooks >= QUIET_LOOKS) this.#draw('waiting');
    else if (this.#video.videoWidth > 0) this.#draw('live');
    else this.#draw(received.video > 0 ? 'connecting' : 'sound');
  }

  /** @param {'idle' | 'connecting' | 'reconnecting' | 'waiting' | 'live' | 'sound'} state */
  #draw(state) {
    const { participant } = this.#place;
    const sentences = {
      idle: '',
      connecting: text.connecting,
      reconnecting: text.reconnecting,
      waiting: participant ? text.waitingFor(participant) : text.waiting,
      live: '',
      sound: text.soundOnly,
    };
    this.element.dataset.state = state;
    if (this.#status.textContent !== sentences[state]) this.#status.textContent = sentences[state];
    this.#hint.textContent = state === 'waiting' ? text.waitingHint : '';
    this.#cover.hidden = state === 'live' || state === 'idle';
    this.#big.hidden = state !== 'idle';
    this.#big.setAttribute('aria-label', text.play);
    this.#live.hidden = state !== 'live' && state !== 'sound';
    const isOn = state !== 'idle';
    setLabel(this.#playing, isOn ? text.stop : text.play);
    const [sign] = this.#playing.children;
    if (sign) setIcon(sign, isOn ? 'stop' : 'play');
  }

  /** @param {boolean} muted */
  #setMuted(muted) {
    this.#video.muted = muted;
    if (!muted && this.#video.volume === 0) this.#video.volume = 1;
    this.#sound.hidden = true;
    this.#drawSound();
    if (this.#player) this.#video.play().catch(() => {});
  }

  #setVolume() {
    this.#video.volume = Number(this.#volume.value);
    this.#setMuted(this.#video.volume === 0);
  }

  #drawSound() {
    const { muted, volume } = this.#video;
    this.#volume.value = String(muted ? 0 : volume);
    setLabel(this.#mute, muted ? text.unmute : text.mute);
    const [sign] = this.#mute.children;
    if (sign) setIcon(sign, muted ? 'speaker-off' : 'speaker');
  }

  async #float() {
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else await this.#video.requestPictureInPicture();
    } catch {
      // No picture yet, or not allowed in this frame: nothing is lost.
    }
  }

  /** Shows the controls for a while. */
  #stir() {
    clearTimeout(this.#idleTimer);
    this.element.classList.add('is-stirred');
    this.#idleTimer = setTimeout(() => this.element.classList.remove('is-stirred'), IDLE_MS);
  }
}

/**
 * How many packets of each kind came in so far.
 *
 * @param {RTCPeerConnection | null} pc
 */
async function packetsOf(pc) {
  const packets = { audio: 0, video: 0 };
  for (const [, entry] of /** @type {any} */ ((await pc?.getStats()) ?? [])) {
    if (entry.type === 'inbound-rtp') packets[/** @type {'audio'} */ (entry.kind)] += entry.packetsReceived;
  }
  return packets;
}

const place = placeOfPath(location.pathname);
const app = document.getElementById('app');
if (place) {
  document.title = strings.title(place.participant ?? place.room);
  app?.append(new WatchPage(place).element);
} else {
  app?.append(h('main', { class: 'watch' }, h('p', { class: 'watch-cover' }, strings.home.invalid)));
}
