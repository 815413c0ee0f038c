// What we send: keeps the room in step with the devices of this machine.

import { captureScreen } from '../media.js';
import { isRefusal } from '../room-connection.js';
import { strings } from '../strings.js';
import { deviceProblems } from './devices.js';
import { note, say } from './notices.js';
import { prefs, remember } from './prefs.js';

/**
 * @import { LocalMedia } from '../media.js'
 * @import { Room } from '../room.js'
 * @import { LocalTrack } from '../room-connection.js'
 */

const text = strings.notice;

/**
 * What a session starts with. A device that is off has its m-line already, so that turning it on
 * needs no offer; who just watches has none.
 *
 * @param {LocalMedia} media
 * @returns {LocalTrack[]}
 */
export function firstTracks(media) {
  if (prefs.mode === 'watch') return [];
  const { audio, video } = media.tracks;
  return [
    { source: 'microphone', track: audio, muted: audio === null },
    { source: 'camera', track: video, muted: video === null },
  ];
}

/** Microphone, camera and screen of the call. */
export class Own {
  #room;
  #media;
  #isTalking = false;
  /** While another microphone steps in for one that was pulled out. */
  #isReplacing = false;
  #onChange = () => this.#sync();
  #onUnplugged = (/** @type {Event} */ event) => this.#unplugged(/** @type {CustomEvent} */ (event).detail);

  /**
   * @param {Room} room
   * @param {LocalMedia} media
   */
  constructor(room, media) {
    this.#room = room;
    this.#media = media;
    media.addEventListener('change', this.#onChange);
    media.addEventListener('unplugged', this.#onUnplugged);
  }

  get canSend() {
    return this.#room.local.has('microphone');
  }

  get micOn() {
    const microphone = this.#room.local.get('microphone');
    return Boolean(microphone?.track) && !microphone?.muted;
  }

  get cameraOn() {
    return Boolean(this.#room.local.get('camera')?.track);
  }

  get sharing() {
    return Boolean(this.#room.local.get('screen')?.track);
  }

  /** @param {boolean} on */
  async setMicrophone(on) {
    if (!this.canSend || on === this.micOn) return;
    const microphone = this.#room.local.get('microphone');
    remember({ mic: on });
    say(on ? text.unmuted : text.muted);
    if (microphone && !microphone.track && on) {
      microphone.muted = false;
      await this.#start('audio');
    } else {
      await this.#room.setMuted('microphone', !on);
    }
  }

  /**
   * Push-to-talk: opens the microphone for as long as a key is held, and leaves one alone that is open.
   *
   * @param {boolean} isHeld
   */
  async talk(isHeld) {
    if (isHeld === this.#isTalking || (isHeld && this.micOn)) return;
    this.#isTalking = isHeld;
    await this.setMicrophone(isHeld);
  }

  /** A camera that is off is really off: its light goes out. */
  async toggleCamera() {
    if (!this.canSend) return;
    const on = !this.cameraOn;
    remember({ camera: on });
    say(on ? text.cameraOn : text.cameraOff);
    if (on) await this.#start('video');
    else this.#media.stop('video');
  }

  /** @param {string} sentence why */
  stopCamera(sentence) {
    this.#media.stop('video');
    note(sentence);
  }

  /** @param {string} sentence why */
  async stopScreen(sentence) {
    await this.#stopScreen();
    note(sentence);
  }

  async toggleScreen() {
    if (!this.canSend) return;
    if (this.sharing) await this.#stopScreen();
    else await this.#startScreen();
  }

  /** To be called when the call is over. */
  close() {
    this.#media.removeEventListener('change', this.#onChange);
    this.#media.removeEventListener('unplugged', this.#onUnplugged);
    for (const { source, track } of this.#room.local.values()) {
      if (source === 'screen' || source === 'screen-audio') track?.stop();
    }
  }

  /** @param {'audio' | 'video'} kind */
  async #start(kind) {
    await this.#media.start(kind, kind === 'audio' ? prefs.microphoneId : prefs.cameraId);
    if (this.#media.problems[kind]) for (const sentence of deviceProblems(this.#media)) note(sentence);
  }

  async #startScreen() {
    let stream = null;
    try {
      stream = await captureScreen();
    } catch {
      note(strings.device.screen);
    }
    const [video] = stream?.getVideoTracks() ?? [];
    const [audio] = stream?.getAudioTracks() ?? [];
    if (!video) return;
    // The browser's own button for it ends the track.
    video.addEventListener('ended', () => this.#stopScreen());
    await Promise.all([this.#send('screen', video), audio && this.#send('screen-audio', audio)]);
    if (this.sharing) note(text.shareOn);
    else for (const track of stream?.getTracks() ?? []) track.stop();
  }

  async #stopScreen() {
    if (!this.sharing) return;
    const sources = /** @type {const} */ (['screen', 'screen-audio']);
    const ending = sources.map(source => {
      this.#room.local.get(source)?.track?.stop();
      return this.#room.unpublish(source).catch(() => {});
    });
    await Promise.all(ending);
    note(text.shareOff);
  }

  /** The devices changed: sends what they give now. */
  #sync() {
    if (!this.canSend) return;
    const { audio, video } = this.#media.tracks;
    const microphone = this.#room.local.get('microphone');
    const isWaiting = audio === null && this.#isReplacing;
    if (audio !== microphone?.track && !isWaiting)
      this.#send('microphone', audio, microphone?.muted || audio === null);
    if (video !== this.#room.local.get('camera')?.track) this.#send('camera', video, video === null);
  }

  /**
   * @param {import('../roster.js').Source} source
   * @param {MediaStreamTrack | null} track
   * @param {boolean} [muted]
   */
  async #send(source, track, muted = false) {
    try {
      await this.#room.publish(source, track, muted);
    } catch (error) {
      // Else the connection is being made anew, and the room brings the track along.
      if (isRefusal(error)) note(text.refused);
    }
  }

  /** @param {'audio' | 'video'} kind */
  async #unplugged(kind) {
    const isMicrophone = kind === 'audio';
    note(strings.device.lost(isMicrophone ? strings.device.microphone : strings.device.camera));
    // Another camera might show what nobody meant to show.
    if (!isMicrophone) return;
    // Another microphone steps in, as open as the lost one was.
    this.#isReplacing = true;
    await this.#media.start('audio');
    this.#isReplacing = false;
    this.#sync();
  }
}
