// What those may do who look after a room. The server asks for the admin grant, where it has keys.

import { request } from './session.js';

/** A room of the server's API, by the bearer's right. All reject with an `HttpError` if refused. */
export class Moderation {
  #url;
  #token;

  /**
   * @param {string} url the room under `/api/rooms`
   * @param {string} [token]
   */
  constructor(url, token) {
    this.#url = url;
    this.#token = token;
  }

  /**
   * Mutes a track for all; only its publisher can unmute it.
   *
   * @param {string} participant
   * @param {string} track
   */
  async mute(participant, track) {
    const path = `/participants/${encodeURIComponent(participant)}/tracks/${encodeURIComponent(track)}`;
    await this.#send('PUT', path, { muted: true });
  }

  /**
   * Ends somebody's session.
   *
   * @param {string} participant
   */
  async remove(participant) {
    await this.#send('DELETE', `/participants/${encodeURIComponent(participant)}`);
  }

  /**
   * Keeps newcomers out, or lets them in again.
   *
   * @param {boolean} locked
   */
  async lock(locked) {
    await this.#send('PUT', '', { locked });
  }

  /** Ends the meeting for all. */
  async end() {
    await this.#send('DELETE', '');
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   */
  #send(method, path, body) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (body) headers['Content-Type'] = 'application/json';
    if (this.#token) headers.Authorization = `Bearer ${this.#token}`;
    return request(this.#url + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  }
}
