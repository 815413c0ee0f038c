// Plays what the audio slots receive.

import { prefs } from './prefs.js';

/** One player for each slot. Fires `blocked` when the browser wants a click first. */
export class Voices extends EventTarget {
  /** @type {HTMLAudioElement[]} */
  #players = [];
  #isSilent = false;
  /** Whether the browser plays nothing before a click. */
  isBlocked = false;

  /**
   * Plays these tracks and no others.
   *
   * @param {MediaStreamTrack[]} tracks
   */
  play(tracks) {
    this.close();
    this.#players = tracks.map(track => {
      const player = new Audio();
      player.srcObject = new MediaStream([track]);
      player.muted = this.#isSilent;
      return player;
    });
    this.useSpeaker(prefs.speakerId);
    this.resume();
  }

  /** To be called from a click if playing was blocked. */
  async resume() {
    const results = await Promise.allSettled(this.#players.map(player => player.play()));
    this.isBlocked = results.some(
      result => result.status === 'rejected' && result.reason?.name === 'NotAllowedError',
    );
    if (this.isBlocked) this.dispatchEvent(new Event('blocked'));
    return !this.isBlocked;
  }

  /**
   * Plays nothing for as long as what comes in is no sound.
   *
   * @param {boolean} isSilent
   */
  silence(isSilent) {
    this.#isSilent = isSilent;
    for (const player of this.#players) player.muted = isSilent;
  }

  /** @param {string} deviceId */
  useSpeaker(deviceId) {
    for (const player of this.#players) {
      // A loudspeaker that is gone: the system's own stays in use.
      player.setSinkId?.(deviceId).catch(() => {});
    }
  }

  close() {
    for (const player of this.#players) {
      player.pause();
      player.srcObject = null;
    }
    this.#players = [];
  }
}
