// One person, or one screen, on the stage.

import { strings } from '../strings.js';
import { h, icon, iconButton, setIcon, setLabel } from './dom.js';
import { hueOf, initialsOf } from './names.js';
import { prefs } from './prefs.js';

/**
 * @import { Seat } from './seats.js'
 * @import { Box } from './layout.js'
 */

const text = strings.stage;

/** @typedef {{track: MediaStreamTrack | null, isSpeaking: boolean, isPinned: boolean, isMain: boolean, isCorner: boolean}} Show */

/** A tile; it is kept for as long as its seat is on the page. */
export class Tile {
  #video = h('video', { autoplay: true, muted: true, playsInline: true, 'aria-hidden': 'true' });
  #initials = h('span', { class: 'avatar', 'aria-hidden': 'true' });
  #name = h('span', { class: 'tile-name' });
  #muted = icon('mic-off');
  #hand = h('span', { class: 'tile-hand', hidden: true }, icon('hand'));
  #state = h('span', { class: 'only-spoken' });
  #whose = h('span', { class: 'tile-whose', 'aria-hidden': 'true' });
  #badge = h('span', { class: 'tile-badge', role: 'img', hidden: true }, icon('signal'), this.#whose);
  #sealed = h('p', { class: 'tile-sealed', hidden: true }, icon('lock'), text.sealed);
  #numbers = h('p', { class: 'tile-numbers', hidden: true });
  #pin;
  #onShape;
  /** @type {MediaStreamTrack | null} */
  #track = null;

  /**
   * @param {{togglePin: () => void, onShape: () => void}} options
   */
  constructor({ togglePin, onShape }) {
    this.#onShape = onShape;
    this.#pin = iconButton({ icon: 'pin', label: '', class: 'tile-pin', onclick: togglePin });
    this.element = h(
      'article',
      { class: 'tile', ondblclick: togglePin },
      this.#initials,
      this.#video,
      h('p', { class: 'tile-plate' }, this.#hand, this.#muted, this.#name, this.#state),
      this.#sealed,
      this.#badge,
      this.#numbers,
      this.#pin,
    );
    // The picture shows once there is one; until then, and while there is none, the initials do.
    this.#video.addEventListener('resize', () => this.#pictureChanged());
    this.#video.addEventListener('playing', () => this.#pictureChanged());
  }

  /** Width by height of the picture; a common screen's as long as it has not come. */
  get aspect() {
    const { videoWidth, videoHeight } = this.#video;
    return videoWidth > 0 ? videoWidth / videoHeight : 16 / 9;
  }

  /**
   * @param {Seat} seat
   * @param {Show} show
   */
  update(seat, show) {
    const { element } = this;
    this.#attach(show.track);
    element.dataset.hue = String(hueOf(seat.hueOf));
    element.classList.toggle('is-screen', seat.isScreen);
    element.classList.toggle('is-speaking', show.isSpeaking && !seat.isScreen);
    element.classList.toggle('is-main', show.isMain);
    element.classList.toggle('is-corner', show.isCorner);
    element.classList.toggle('is-pinned', show.isPinned);
    element.classList.toggle('mirrored', seat.isSelf && !seat.isScreen && prefs.mirror);
    this.#initials.textContent = initialsOf(seat.isSelf ? prefs.name || text.you : seat.name);
    this.#name.textContent = seat.name;
    this.#muted.classList.toggle('is-hidden', !seat.isMuted);
    this.#hand.hidden = !seat.isHandUp;
    element.classList.toggle('is-hand-up', seat.isHandUp);
    this.#sealed.hidden = !seat.isSealed;
    element.classList.toggle('is-sealed', seat.isSealed);
    const hand = seat.isHandUp && strings.reactions.hand;
    const states = [seat.isMuted && text.muted, hand, show.isSpeaking && text.speaking].filter(Boolean);
    this.#state.textContent = states.length > 0 ? `, ${states.join(', ')}` : '';
    setLabel(this.#pin, show.isPinned ? text.unpin(seat.name) : text.pin(seat.name));
    const [pinIcon] = this.#pin.children;
    if (pinIcon) setIcon(pinIcon, show.isPinned ? 'pin-off' : 'pin');
  }

  /** @param {Box} box */
  place({ x, y, width, height }) {
    const { style } = this.element;
    style.setProperty('--x', `${x}px`);
    style.setProperty('--y', `${y}px`);
    style.setProperty('--w', `${width}px`);
    style.setProperty('--h', `${height}px`);
    style.setProperty('--small', `${Math.min(width, height)}px`);
  }

  /**
   * @param {'good' | 'fair' | 'poor' | 'halted'} grade `halted`: the path has no room for it, so nothing is sent
   * @param {'own' | 'theirs'} whose connection it is about
   * @param {string | null} numbers
   */
  showQuality(grade, whose, numbers) {
    const words = text.quality[whose];
    const sentence = grade === 'good' ? '' : grade === 'halted' ? text.quality.halted : words[grade];
    this.element.classList.toggle('is-halted', grade === 'halted');
    this.#badge.hidden = grade === 'good';
    this.#badge.dataset.grade = grade === 'halted' ? 'poor' : grade;
    this.#badge.setAttribute('aria-label', sentence);
    this.#badge.title = sentence;
    this.#whose.textContent = grade === 'good' ? '' : words.short;
    this.#numbers.hidden = numbers === null;
    this.#numbers.textContent = numbers;
  }

  /** To be called when it leaves the page. */
  close() {
    this.#video.srcObject = null;
    this.element.remove();
  }

  /** @param {MediaStreamTrack | null} track */
  #attach(track) {
    if (track === this.#track) return;
    this.#track = track;
    this.element.classList.remove('has-picture');
    this.#video.srcObject = track ? new MediaStream([track]) : null;
    // Muted pictures may always play; a refusal means the tile is already gone.
    if (track) this.#video.play().catch(() => {});
  }

  #pictureChanged() {
    const { videoWidth, videoHeight } = this.#video;
    this.element.classList.toggle('has-picture', this.#track !== null && videoWidth > 0);
    this.element.classList.toggle('is-upright', videoHeight > videoWidth);
    this.#onShape();
  }
}
