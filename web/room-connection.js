// One connection to a room: the peer connection, the session and its events, from the POST to
// the moment it is lost. It is never revived; `Room` makes a new one.

import { Backoff } from './backoff.js';
import { offerCommonCodecs, readDescriptors, sendCodec } from './codecs.js';
import { PathWatch } from './path.js';
import { markSlides, slimSlots } from './sdp.js';
import { HttpError, Session } from './session.js';
import { activeEncodings, cameraEncodings, SCREEN_ENCODINGS } from './simulcast.js';

/**
 * @import { Encryption } from './encryption.js'
 * @import { Source } from './roster.js'
 * @import { WantedLayer } from './simulcast.js'
 */

/**
 * A track of our own. `track` may be null while its m-line stays: a camera that is off.
 *
 * @typedef {{source: Source, track: MediaStreamTrack | null, muted: boolean}} LocalTrack
 */

/** Everything the server may send on the event stream. */
const EVENT_NAMES = [
  'snapshot',
  'participant',
  'participant-left',
  'track',
  'track-ended',
  'binding',
  'layers-wanted',
  'quality',
  'speaker',
  'room',
  'message',
  'moved',
  'reconnect',
  'closed',
];

/**
 * Whether the server will not take it however often it is asked.
 *
 * @param {unknown} error
 */
export const isRefusal = error => error instanceof HttpError && !error.isTemporary;

/** @param {Source} source */
const isScreen = source => source === 'screen' || source === 'screen-audio';
/** @param {Source} source */
const kindOf = source => (source === 'camera' || source === 'screen' ? 'video' : 'audio');

/**
 * Fires `message` (detail: `{name, data}`, an event of the server), `health` (detail: whether the
 * path works) and, once, `lost` (detail: why; null when only trying again can tell).
 */
export class RoomConnection extends EventTarget {
  pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  /** @type {Session | null} */
  session = null;
  isOver = false;
  /** @type {Map<Source, RTCRtpTransceiver>} */
  #senders = new Map();
  /** @type {RTCRtpTransceiver[]} */
  #slots = [];
  /** @type {EventSource | null} */
  #events = null;
  /** Offers and answers come one after the other. */
  #chain = Promise.resolve();
  /** @type {Promise<void> | null} the next turn, while it can still take changes in */
  #turn = null;
  /** @type {(() => void)[]} what the next turn does */
  #changes = [];
  /** How many layers of the camera may be sent. */
  #most = Number.POSITIVE_INFINITY;
  /** @type {Map<string, WantedLayer[]>} what somebody wants of what we send, by MID, where it was told */
  #wanted = new Map();
  /** Encodings are changed one after the other: a sender takes parameters only that it has just given. */
  #encoding = Promise.resolve();
  /** What the server was last told; before that, that nothing is muted. */
  #sentMuted = '{}';
  #backoff = new Backoff();
  #isProbing = false;
  /** A restart of ICE was begun and did not get through. */
  #mustRestart = false;
  #path = new PathWatch(this.pc, () => this.#pathLost());
  #encryption;

  /** @param {Encryption | null} encryption */
  constructor(encryption) {
    super();
    this.#encryption = encryption;
  }

  /**
   * Offers our tracks and the slots, and starts listening.
   *
   * @param {string} door
   * @param {import('./session.js').OpenOptions} options
   * @param {Iterable<LocalTrack>} local
   * @param {{video: number, audio: number}} slots
   */
  async open(door, options, local, slots) {
    for (const track of local) this.#addSender(track);
    this.#addSlots('video', slots.video);
    this.#addSlots('audio', slots.audio);
    this.pc.addEventListener('connectionstatechange', () => this.#connectionChanged());
    // The server is ICE-lite: it learns our addresses from our checks, so nothing waits for gathering.
    await this.pc.setLocalDescription();
    const session = await Session.open(door, this.#offer(), options);
    if (this.isOver) {
      await session.end();
      throw new DOMException('left while joining', 'AbortError');
    }
    this.session = session;
    this.#path.offer(session.iceServers);
    await this.pc.setRemoteDescription({ type: 'answer', sdp: this.#path.answer(session.answer) });
    this.#listen(session);
  }

  /**
   * The slots of a kind that the server knows, by MID.
   *
   * @param {'audio' | 'video'} kind
   */
  mids(kind) {
    const answered = this.#slots.filter(slot => slot.currentDirection !== null);
    return answered.filter(slot => slot.receiver.track.kind === kind).map(slot => slot.mid ?? '');
  }

  /**
   * What a slot receives; the same object for the life of the connection.
   *
   * @param {string} mid
   */
  slotTrack(mid) {
    return this.#slots.find(slot => slot.mid === mid)?.receiver.track ?? null;
  }

  /**
   * Sends a track, or nothing for now. Costs an offer only if there is no m-line for it yet.
   *
   * @param {LocalTrack} local
   */
  async send(local) {
    const sender = this.#senders.get(local.source);
    if (sender && sender.direction === 'sendonly') {
      await sender.sender.replaceTrack(local.track);
    } else {
      await this.#negotiate(() => this.#addSender(local));
    }
  }

  /**
   * Sends no more than so many layers of the camera, the smallest first.
   *
   * @param {number} most
   */
  async sendLayers(most) {
    this.#most = most;
    await this.#chooseEncodings();
  }

  /**
   * The server says which layers of our tracks anybody wants.
   *
   * @param {{mid: string, layers: WantedLayer[]}[]} told
   * @param {{isAll?: boolean}} [options] whether of all else everything is wanted
   */
  async layersWanted(told, { isAll = false } = {}) {
    if (isAll) this.#wanted.clear();
    for (const { mid, layers } of told) this.#wanted.set(mid, layers);
    await this.#chooseEncodings();
  }

  #chooseEncodings() {
    return this.#tune(() => this.#setEncodings());
  }

  /**
   * Changes how something is encoded, after whatever is being changed already.
   *
   * @param {() => Promise<void>} change
   */
  #tune(change) {
    this.#encoding = this.#encoding.then(change).catch(error => console.warn('plenum:', error.message));
    return this.#encoding;
  }

  async #setEncodings() {
    for (const [source, { mid, sender }] of this.#senders) {
      if (kindOf(source) !== 'video') continue;
      const parameters = sender.getParameters();
      const most = source === 'camera' ? this.#most : Number.POSITIVE_INFINITY;
      const active = activeEncodings(parameters.encodings, most, this.#wanted.get(mid ?? '') ?? []);
      const isSame = parameters.encodings.every((encoding, index) => encoding.active === active[index]);
      if (isSame || this.isOver) continue;
      for (const [index, encoding] of parameters.encodings.entries()) encoding.active = active[index];
      await sender.setParameters(parameters);
    }
  }

  /**
   * Sends the camera in this codec.
   *
   * @param {string} name as `VP9`; empty for the browser's choice
   */
  async sendCodec(name) {
    const sender = this.#senders.get('camera')?.sender;
    if (sender && this.#encryption === null) await this.#tune(() => sendCodec(sender, name));
  }

  /**
   * Ends a track. Its m-line stays and is used again by the next one of its source.
   *
   * @param {Source} source
   */
  async stop(source) {
    const sender = this.#senders.get(source);
    if (!sender) return;
    await this.#negotiate(() => {
      sender.sender.replaceTrack(null);
      sender.direction = 'inactive';
    });
  }

  /**
   * Tells which of our tracks are muted.
   *
   * @param {Iterable<LocalTrack>} local
   */
  async tellMuted(local) {
    /** @type {Record<string, boolean>} */
    const muted = {};
    for (const { source, track, muted: isMuted } of local) {
      const sender = this.#senders.get(source);
      if (sender?.mid && sender.direction === 'sendonly') muted[sender.mid] = isMuted || track === null;
    }
    const text = JSON.stringify(muted);
    if (text === this.#sentMuted) return;
    this.#sentMuted = text;
    await this.#try(session => session.mute(muted));
  }

  /** @param {object} wish */
  async subscribe(wish) {
    await this.#try(session => session.subscribe(wish));
  }

  /** @param {import('./roster.js').Attributes} attributes */
  async describe(attributes) {
    await this.#try(session => session.describe(attributes));
  }

  /**
   * Adds video slots.
   *
   * @param {number} count
   */
  async grow(count) {
    await this.#negotiate(() => {
      // Those of an attempt that did not get through are still there.
      const waiting = this.#slots.filter(slot => slot.currentDirection === null).length;
      this.#addSlots('video', count - waiting);
    });
  }

  /** Finds a new path: the network changed. */
  async restartIce() {
    this.#mustRestart = true;
    try {
      await this.#negotiate(() => this.pc.restartIce());
      this.#mustRestart = false;
    } catch {
      this.#probe();
    }
  }

  /** The network came back: whatever waits tries now. */
  hurry() {
    this.#backoff.hurry();
  }

  /**
   * Ends it.
   *
   * @param {{tellServer: boolean}} options
   */
  close({ tellServer }) {
    if (this.isOver) return;
    this.isOver = true;
    this.#path.stop();
    this.#backoff.hurry();
    this.#events?.close();
    // The server is told first: an end of the connection alone might as well be an accident.
    const told = tellServer && this.session ? this.session.end() : Promise.resolve();
    told.finally(() => this.pc.close());
  }

  /** @param {LocalTrack} local */
  #addSender({ source, track }) {
    const stopped = this.#senders.get(source);
    if (stopped) {
      stopped.direction = 'sendonly';
      stopped.sender.replaceTrack(track);
      return;
    }
    // A stream even without a track, so that the m-line has an `a=msid` from the start.
    const streams = [track ? new MediaStream([track]) : new MediaStream()];
    const encodings = { camera: cameraEncodings(track), screen: SCREEN_ENCODINGS }[
      /** @type {'camera'} */ (source)
    ];
    const transceiver = this.pc.addTransceiver(track ?? kindOf(source), {
      direction: 'sendonly',
      streams,
      ...(encodings && { sendEncodings: encodings }),
    });
    offerCommonCodecs(transceiver, kindOf(source), this.#encryption !== null);
    this.#encryption?.seal(transceiver, kindOf(source));
    this.#senders.set(source, transceiver);
  }

  /**
   * @param {'audio' | 'video'} kind
   * @param {number} count
   */
  #addSlots(kind, count) {
    for (let i = 0; i < count; i += 1) {
      const slot = this.pc.addTransceiver(kind, { direction: 'recvonly' });
      readDescriptors(slot);
      offerCommonCodecs(slot, kind, this.#encryption !== null);
      this.#encryption?.open(slot, kind);
      this.#slots.push(slot);
    }
  }

  /** The local description, as it goes to the server. */
  #offer() {
    const screens = [...this.#senders].filter(([source]) => isScreen(source));
    const mids = new Set(screens.map(([, { mid }]) => mid ?? ''));
    return markSlides(slimSlots(this.pc.localDescription?.sdp ?? ''), mids);
  }

  /**
   * Changes something that needs an offer. One offer at a time, and what comes while one is under
   * way shares the next.
   *
   * @param {() => void} change
   * @returns {Promise<void>}
   */
  #negotiate(change) {
    this.#changes.push(change);
    this.#turn ??= this.#chain.then(() => this.#takeTurn());
    this.#chain = this.#turn.catch(() => {});
    return this.#turn;
  }

  async #takeTurn() {
    const changes = this.#changes;
    this.#changes = [];
    this.#turn = null;
    if (this.isOver || !this.session) return;
    for (const change of changes) change();
    await this.pc.setLocalDescription();
    try {
      const sdp = await this.session.reoffer(this.#offer());
      await this.pc.setRemoteDescription({ type: 'answer', sdp: this.#path.answer(sdp) });
    } catch (error) {
      // What was refused stays in all later offers (nothing takes a transceiver back reliably), so a
      // connection that was refused something is at its end.
      if (isRefusal(error)) {
        this.#lose('refused');
      } else if (this.pc.signalingState === 'have-local-offer') {
        await this.pc.setLocalDescription({ type: 'rollback' });
        this.#judge(error);
      }
      throw error;
    }
  }

  /** @param {Session} session */
  #listen(session) {
    const events = new EventSource(session.eventsUrl ?? `${session.url}/events`);
    this.#events = events;
    for (const name of EVENT_NAMES) {
      events.addEventListener(name, event => {
        if (this.isOver) return;
        this.#backoff.reset();
        const data = JSON.parse(event.data);
        this.dispatchEvent(new CustomEvent('message', { detail: { name, data } }));
      });
    }
    // The browser tries again by itself, except after an answer that is not an event stream. A
    // request of ours finds out sooner whether the session is still there.
    events.addEventListener('error', () => this.#probe());
  }

  #connectionChanged() {
    const { connectionState } = this.pc;
    if (connectionState === 'connected') this.#health(true);
    if (connectionState === 'failed') this.#lose(null);
  }

  #pathLost() {
    // Who is still on the way in has lost nothing yet.
    if (this.pc.iceConnectionState === 'disconnected') this.#health(false);
    this.restartIce();
  }

  /** Asks until somebody answers whether the session is still there. */
  async #probe() {
    if (this.#isProbing) return;
    this.#isProbing = true;
    while (!this.isOver && this.session) {
      await this.#backoff.wait();
      if (this.isOver) break;
      try {
        await this.session.mute({});
        if (this.#events?.readyState === EventSource.CLOSED) this.#listen(this.session);
        if (this.pc.connectionState === 'connected') this.#health(true);
        const isLost = this.pc.iceConnectionState === 'disconnected';
        if (isLost || this.#mustRestart) this.restartIce();
        break;
      } catch (error) {
        this.#health(false);
        this.#judge(error);
      }
    }
    this.#isProbing = false;
  }

  /** @param {(session: Session) => Promise<void>} request */
  async #try(request) {
    if (this.isOver || !this.session) return;
    try {
      await request(this.session);
    } catch (error) {
      // Whatever was not told is told with the next change.
      this.#sentMuted = '';
      this.#judge(error);
    }
  }

  /**
   * What a failed request says about the connection.
   *
   * @param {unknown} error
   */
  #judge(error) {
    if (this.isOver) return;
    if (error instanceof HttpError && error.status === 404) this.#lose(null);
    else if (!(error instanceof HttpError) || error.isTemporary) this.#probe();
    else console.warn('plenum:', error.message);
  }

  /** @param {boolean} isWell */
  #health(isWell) {
    if (!this.isOver) this.dispatchEvent(new CustomEvent('health', { detail: isWell }));
  }

  /** @param {string | null} reason */
  #lose(reason) {
    if (this.isOver) return;
    this.close({ tellServer: false });
    this.dispatchEvent(new CustomEvent('lost', { detail: reason }));
  }
}
