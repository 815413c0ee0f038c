// A room, for any page: who is there, what they send and say, what we send. No DOM in here.
//
//   import { Room } from '/room.js';
//   const room = new Room({ room: 'demo', name: 'Ada' });
//   room.addEventListener('binding', () => ...room.media(track)...);
//   await room.join([{ source: 'microphone', track }, { source: 'camera', track }]);

import { Backoff } from './backoff.js';
import { Moderation } from './moderation.js';
import { networkInformation } from './path.js';
import { isRefusal, RoomConnection } from './room-connection.js';
import { Roster } from './roster.js';
import { HttpError } from './session.js';
import { assignSlots, wishDocument } from './wishes.js';

/**
 * @import { Encryption } from './encryption.js'
 * @import { Attributes, Message, Source, Track } from './roster.js'
 * @import { LocalTrack } from './room-connection.js'
 * @import { Wish } from './wishes.js'
 */

/**
 * @typedef {'new' | 'joining' | 'joined' | 'reconnecting' | 'over'} RoomState
 * @typedef {object} RoomOptions
 * @property {string} room
 * @property {string} [name] display name
 * @property {string} [server] where the server is; the page's origin if not said
 * @property {string} [token]
 * @property {Encryption} [encryption] seals what is sent and opens what is received; ends with the room
 */

/** Slots of the first offer: nine pictures make a full grid on a laptop, three voices are what one can follow. */
const FIRST_SLOTS = { video: 9, audio: 3 };
/** Most video slots of a session: a page of 25 tiles is where faces become too small to read. */
const MOST_VIDEO_SLOTS = 25;
/** Wishes are sent this long after the last change: scrolling and resizing make many. */
const WISH_DELAY_MS = 120;
/** Reasons of `closed` after which coming back would be against somebody's will. */
const FINAL_REASONS = new Set(['left', 'resumed', 'expired', 'removed', 'room-ended']);

/**
 * Events: `state` (detail: RoomState), `health` (detail: whether the media path works), `over`
 * (detail: reason), `local` (our tracks changed), `arrived` and `departed` (detail: Participant), and
 * `silenced` (detail: Source; a moderator muted it), `encryption` (what somebody sends has become
 * readable, or has stopped being so; see `cannotRead`), and the server's own, after they took effect
 * in `roster`: `snapshot`, `participant`, `participant-left`, `track`, `track-ended`, `binding`,
 * `quality`, `speaker`, `room`, `message` (detail: Message), `moved`.
 */
export class Room extends EventTarget {
  roster = new Roster();
  /** @type {RoomState} */
  state = 'new';
  /** @type {Map<Source, LocalTrack>} */
  local = new Map();
  #door;
  #options;
  /** @type {Attributes} */
  #attributes = {};
  /** @type {RoomConnection | null} */
  #connection = null;
  #resume = '';
  #backoff = new Backoff();
  /** @type {Wish[] | null} null for as long as the server is to choose */
  #wishes = null;
  /**
   * Slot to track, as last asked for. Null until the first snapshot of a connection: what the
   * server has chosen by then is kept as far as it is wanted, so that pictures that are already
   * on their way are not turned away.
   *
   * @type {Map<string, string> | null}
   */
  #assigned = null;
  #wishTimer = 0;
  #sentWish = '';
  #isGrowing = false;
  #mostSlots = MOST_VIDEO_SLOTS;
  #layers = Number.POSITIVE_INFINITY;
  #codec = '';
  #onNetwork = () => this.#networkChanged();

  /** @param {RoomOptions} options */
  constructor({ room, name, server = globalThis.location?.origin, token, encryption }) {
    super();
    this.encryption = encryption ?? null;
    this.encryption?.addEventListener('change', () => this.#emit('encryption'));
    this.#door = new URL(`/rooms/${encodeURIComponent(room)}/sessions`, server).href;
    this.#options = { name, token };
  }

  /**
   * Joins, publishing what is given; a source with a null track is an m-line in waiting, so that
   * turning the camera on later costs no offer. Rejects if the server does not take us.
   *
   * @param {LocalTrack[]} local
   */
  async join(local) {
    for (const track of local) this.local.set(track.source, track);
    this.#setState('joining');
    try {
      await this.#connect();
    } catch (error) {
      this.#end(null);
      throw error;
    }
    addEventListener('online', this.#onNetwork);
    networkInformation()?.addEventListener('change', this.#onNetwork);
  }

  /**
   * Leaves. Safe while the page is going away.
   *
   * @param {string} [reason] what `over` is told
   */
  leave(reason = 'left') {
    this.#connection?.close({ tellServer: true });
    this.#end(reason);
  }

  /**
   * Says something to everyone, or to one of the others. Resolves to the message as the others get
   * it; there is no echo. Rejects if the server does not take it.
   *
   * @param {string} event what it is; 1 to 64 letters, digits and `_.:-`
   * @param {unknown} data anything that JSON can say, 16 KiB at most
   * @param {{to?: string | null, keep?: boolean}} [options] `keep`: newcomers are told of it, too
   * @returns {Promise<Message>}
   */
  async say(event, data, { to = null, keep = false } = {}) {
    const session = this.#connection?.session;
    if (!session || this.state !== 'joined') throw new DOMException('not connected', 'NetworkError');
    const url = this.#door.replace(/\/sessions$/, '/messages');
    const id = await session.message(url, { to, event, data, keep });
    return { id, from: this.roster.me, to, event, data, at: Date.now() };
  }

  /** What the others know of us. */
  get attributes() {
    return this.#attributes;
  }

  /**
   * What the others are to know of us, as a raised hand; kept over reconnects.
   *
   * @param {Attributes} attributes
   */
  async describe(attributes) {
    this.#attributes = attributes;
    await this.#connection?.describe(this.#ownAttributes);
  }

  /** With what those without a passphrase have to know: that they need one. */
  get #ownAttributes() {
    return this.encryption ? { ...this.#attributes, encrypted: true } : this.#attributes;
  }

  /**
   * Whether what somebody sends means nothing here: it is encrypted and we are not, or with
   * another passphrase, or we are and they are not.
   *
   * @param {string} participant
   */
  cannotRead(participant) {
    const { encryption, roster } = this;
    if (!encryption) return roster.participants.get(participant)?.attributes?.encrypted === true;
    for (const { mid, participant: sender } of roster.bindings.values()) {
      const received = sender === participant ? this.#connection?.slotTrack(mid) : null;
      if (received && encryption.isUnreadable(received)) return true;
    }
    return false;
  }

  /** What those may do who have the grant for it (`roster.grants.admin`). */
  get moderation() {
    return new Moderation(
      this.#door.replace(/\/rooms\/(.*)\/sessions$/, '/api/rooms/$1'),
      this.#options.token,
    );
  }

  get isOver() {
    return this.state === 'over';
  }

  /** Our peer connection, for statistics. */
  get pc() {
    return this.#connection?.pc ?? null;
  }

  /**
   * Sends a track from now on, in place of what its source sent before; null sends nothing. Rejects
   * if the server does not take it, or if the connection is being made anew, which brings it along.
   *
   * @param {Source} source
   * @param {MediaStreamTrack | null} track
   * @param {boolean} [muted]
   */
  async publish(source, track, muted = false) {
    const local = { source, track, muted };
    this.local.set(source, local);
    if (track) track.enabled = !muted;
    this.#emit('local');
    try {
      await this.#connection?.send(local);
    } catch (error) {
      // What is refused is not brought along to the next connection; what only failed is.
      if (isRefusal(error)) this.local.delete(source);
      this.#emit('local');
      throw error;
    }
    await this.#connection?.tellMuted(this.local.values());
  }

  /**
   * Ends a track for good, as a screen that is no longer shared.
   *
   * @param {Source} source
   */
  async unpublish(source) {
    if (!this.local.delete(source)) return;
    this.#emit('local');
    await this.#connection?.stop(source);
  }

  /**
   * Mutes: nothing of a muted track leaves this machine but silence, and the others are told.
   *
   * @param {Source} source
   * @param {boolean} muted
   */
  async setMuted(source, muted) {
    const local = this.local.get(source);
    if (!local) return;
    local.muted = muted;
    if (local.track) local.track.enabled = !muted;
    this.#emit('local');
    await this.#connection?.tellMuted(this.local.values());
  }

  /**
   * Sends so many layers of the camera, the smallest first: fewer for a slow uplink or a hot machine.
   *
   * @param {number} most
   */
  async sendLayers(most) {
    this.#layers = most;
    await this.#connection?.sendLayers(most);
  }

  /**
   * Sends the camera in this codec, if browser and server have it; not in encrypted rooms, which
   * have one codec.
   *
   * @param {string} name as `VP9` (see `sendableCodecs`); empty for the browser's choice
   */
  async sendCodec(name) {
    this.#codec = name;
    await this.#connection?.sendCodec(name);
  }

  /**
   * Says what is on screen, the most wanted first; from then on all else is not sent to us.
   * Without this, the server chooses.
   *
   * @param {Wish[]} wishes
   */
  want(wishes) {
    this.#wishes = wishes;
    clearTimeout(this.#wishTimer);
    this.#wishTimer = setTimeout(() => this.#sendWishes(), WISH_DELAY_MS);
  }

  /**
   * The received track that shows a published one, if a slot does.
   *
   * @param {string} track
   */
  media(track) {
    const mid = this.roster.slotOf(track);
    if (mid === null || !this.#connection || this.#connection.isOver) return null;
    return this.#connection.slotTrack(mid);
  }

  /** What the audio slots receive: to be played, all of it. */
  get voices() {
    const connection = this.#connection;
    if (!connection) return [];
    return connection.mids('audio').flatMap(mid => connection.slotTrack(mid) ?? []);
  }

  async #connect() {
    const connection = new RoomConnection(this.encryption);
    this.#connection = connection;
    this.#assigned = null;
    this.#sentWish = '';
    this.#isGrowing = false;
    connection.addEventListener('message', event => {
      if (connection === this.#connection) this.#handle(/** @type {CustomEvent} */ (event).detail);
    });
    connection.addEventListener('lost', () => {
      if (connection === this.#connection) this.#reconnect();
    });
    connection.addEventListener('health', event => {
      this.#emit('health', /** @type {CustomEvent} */ (event).detail);
    });
    const slots = { ...FIRST_SLOTS, video: this.#slotsFor(this.#wishes?.length ?? 0) };
    const options = { ...this.#options, ...(this.#resume && { resume: this.#resume }) };
    try {
      await connection.open(this.#door, options, this.local.values(), slots);
    } catch (error) {
      connection.close({ tellServer: true });
      throw error;
    }
    this.#resume = connection.session?.id ?? '';
    this.#backoff.reset();
    this.#setState('joined');
    connection.tellMuted(this.local.values());
    connection.sendLayers(this.#layers);
    if (this.#codec) connection.sendCodec(this.#codec);
    if (Object.keys(this.#ownAttributes).length > 0) connection.describe(this.#ownAttributes);
  }

  /** @param {{name: string, data: any}} message */
  #handle({ name, data }) {
    const known = this.roster.participants.get(data.id);
    this.roster.apply(name, data);
    if (name === 'layers-wanted') this.#connection?.layersWanted([data]);
    if (name === 'snapshot') {
      this.#connection?.layersWanted(data.layersWanted ?? [], { isAll: true });
      this.#assigned = this.roster.boundTracks;
      if (this.#wishes) this.want(this.#wishes);
    }
    if (name === 'participant' && !known && data.id !== this.roster.me) this.#emit('arrived', data);
    if (name === 'participant-left' && known) this.#emit('departed', known);
    if (name === 'track' && data.participant === this.roster.me) this.#obey(data);
    if (name === 'moved') this.#move(data.url);
    if (name === 'closed') {
      this.#connection?.close({ tellServer: false });
      if (FINAL_REASONS.has(data.reason)) this.#end(data.reason);
      else this.#reconnect();
    } else if (name === 'reconnect') {
      if (data.url) this.#door = new URL(new URL(this.#door).pathname, data.url).href;
      this.#connection?.close({ tellServer: false });
      this.#reconnect();
    } else {
      this.#emit(name, data);
    }
  }

  /**
   * Somebody who may muted a track of ours: it stays so until we change it.
   *
   * @param {Track} track
   */
  #obey({ source, muted, mutedBy }) {
    const local = this.local.get(source);
    if (!muted || !mutedBy || !local || local.muted) return;
    this.setMuted(source, true);
    this.#emit('silenced', source);
  }

  /**
   * Goes on in another room: what comes next is a `closed`, and a connection to its door.
   *
   * @param {string} url
   */
  #move(url) {
    this.#door = new URL(url, this.#door).href;
    this.#resume = '';
  }

  async #reconnect() {
    if (this.state !== 'joined') return;
    this.#setState('reconnecting');
    /** @type {number | null} */
    let atLeast = null;
    for (;;) {
      await this.#backoff.wait(atLeast);
      if (this.isOver) return;
      try {
        await this.#connect();
        return;
      } catch (error) {
        atLeast = error instanceof HttpError ? error.retryAfterSeconds : null;
        if (!(error instanceof HttpError) || error.isTemporary) continue;
        // The server does not know the session that we want to go on with: come as somebody new.
        if (this.#resume) this.#resume = '';
        else return this.#end(error.message);
      }
    }
  }

  #networkChanged() {
    this.#backoff.hurry();
    this.#connection?.hurry();
  }

  async #sendWishes() {
    const connection = this.#connection;
    if (!connection || !this.#wishes || !this.#assigned || this.state !== 'joined') return;
    const mids = connection.mids('video');
    const assigned = assignSlots(this.#wishes, mids, this.#assigned);
    this.#assigned = new Map([...assigned].map(([mid, wish]) => [mid, wish.track]));
    const wish = wishDocument(assigned, mids, connection.mids('audio'));
    const text = JSON.stringify(wish);
    if (text !== this.#sentWish) {
      this.#sentWish = text;
      await connection.subscribe(wish);
    }
    const slots = this.#slotsFor(this.#wishes.length);
    if (slots > mids.length && !this.#isGrowing) await this.#grow(connection, slots - mids.length);
  }

  /**
   * @param {RoomConnection} connection
   * @param {number} count
   */
  async #grow(connection, count) {
    this.#isGrowing = true;
    const had = connection.mids('video').length;
    try {
      await connection.grow(count);
      await this.#sendWishes();
    } catch (error) {
      // The server takes no more: the page goes on with as many as it had.
      if (isRefusal(error)) this.#mostSlots = had;
    }
    this.#isGrowing = false;
  }

  /**
   * How many video slots a number of wishes needs, in steps so that few offers are made.
   *
   * @param {number} wishes
   */
  #slotsFor(wishes) {
    if (wishes <= FIRST_SLOTS.video) return FIRST_SLOTS.video;
    return Math.min(wishes <= 16 ? 16 : MOST_VIDEO_SLOTS, this.#mostSlots);
  }

  /** @param {string | null} reason */
  #end(reason) {
    if (this.isOver) return;
    clearTimeout(this.#wishTimer);
    removeEventListener('online', this.#onNetwork);
    networkInformation()?.removeEventListener('change', this.#onNetwork);
    this.#setState('over');
    this.#backoff.hurry();
    this.encryption?.close();
    this.#emit('over', reason);
  }

  /** @param {RoomState} state */
  #setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.#emit('state', state);
  }

  /**
   * @param {string} name
   * @param {unknown} [detail]
   */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
