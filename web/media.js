// Cameras, microphones, loudspeakers and screens of this machine.

/**
 * Why a device cannot be used, in words that strings.js has a sentence for.
 *
 * @typedef {'denied' | 'missing' | 'busy' | 'insecure' | 'other'} DeviceProblem
 * @typedef {'audio' | 'video'} Kind
 */

/** What is asked of a camera: 720p is the top layer of our simulcast. */
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
/** Screens are for reading: enough frames for scrolling, and not more, so that they stay sharp. */
const SCREEN = { frameRate: { ideal: 15, max: 30 } };

/**
 * The microphone and camera in use. Fires `change` when something started, stopped or failed,
 * `devices` when one was plugged in or out, and `unplugged` (detail: kind) when one in use was lost.
 */
export class LocalMedia extends EventTarget {
  /** @type {Record<Kind, MediaStreamTrack | null>} */
  tracks = { audio: null, video: null };
  /** @type {Record<Kind, DeviceProblem | null>} */
  problems = { audio: null, video: null };
  /** @type {MediaDeviceInfo[]} */
  devices = [];
  /** @type {Record<Kind, number>} counts starts, so that only the last one asked for wins */
  #turn = { audio: 0, video: 0 };

  #onDeviceChange = () => this.refresh();

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener('devicechange', this.#onDeviceChange);
  }

  /**
   * Starts a device, or changes to another; the track that was in use is stopped.
   *
   * @param {Kind} kind
   * @param {string} [deviceId] the one the person chose; any other if it is not there
   */
  async start(kind, deviceId) {
    this.#turn[kind] += 1;
    const turn = this.#turn[kind];
    try {
      const track = await capture(kind, deviceId);
      if (turn !== this.#turn[kind]) {
        track.stop();
        return;
      }
      this.#use(kind, track);
      this.problems[kind] = null;
    } catch (error) {
      if (turn !== this.#turn[kind]) return;
      this.#use(kind, null);
      this.problems[kind] = problemOf(error);
    }
    await this.refresh();
    this.#emit('change');
  }

  /**
   * Stops a device; its light goes out.
   *
   * @param {Kind} kind
   */
  stop(kind) {
    this.#turn[kind] += 1;
    this.#use(kind, null);
    this.#emit('change');
  }

  /** Stops all, for good. */
  close() {
    navigator.mediaDevices?.removeEventListener('devicechange', this.#onDeviceChange);
    this.stop('audio');
    this.stop('video');
  }

  /**
   * @param {MediaDeviceKind} kind
   * @returns {MediaDeviceInfo[]} those with a name; without permission they have none
   */
  list(kind) {
    return this.devices.filter(device => device.kind === kind && device.deviceId !== '');
  }

  /** Looks again at what is plugged in. */
  async refresh() {
    this.devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    this.#emit('devices');
  }

  /**
   * @param {Kind} kind
   * @param {MediaStreamTrack | null} track
   */
  #use(kind, track) {
    this.tracks[kind]?.stop();
    this.tracks[kind] = track;
    track?.addEventListener('ended', () => {
      if (this.tracks[kind] !== track) return;
      this.tracks[kind] = null;
      this.#emit('unplugged', kind);
      this.#emit('change');
    });
  }

  /**
   * @param {string} name
   * @param {unknown} [detail]
   */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/**
 * @param {Kind} kind
 * @param {string} [deviceId]
 */
async function capture(kind, deviceId) {
  if (!navigator.mediaDevices) throw new DOMException('not a secure page', 'SecurityError');
  const wanted = kind === 'video' ? CAMERA : MICROPHONE;
  const open = (/** @type {MediaTrackConstraints} */ more) =>
    navigator.mediaDevices.getUserMedia({ [kind]: { ...wanted, ...more } });
  // As a mere wish (`ideal`) the choice may be passed over for the first device that there is.
  const stream = await (deviceId
    ? open({ deviceId: { exact: deviceId } }).catch(error => {
        if (problemOf(error) !== 'missing') throw error;
        return open({});
      })
    : open({}));
  const [track] = stream.getTracks();
  if (kind === 'video') track.contentHint = 'motion';
  return track;
}

/** Whether this browser can share a screen; telephones cannot. */
export const canShareScreen = () => Boolean(navigator.mediaDevices?.getDisplayMedia);

/**
 * Asks for a screen, with its sound where the browser gives it.
 *
 * @returns {Promise<MediaStream | null>} null if the person changed their mind
 */
export async function captureScreen() {
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: SCREEN, audio: true });
    for (const track of stream.getVideoTracks()) track.contentHint = 'detail';
    return stream;
  } catch (error) {
    if (problemOf(error) === 'denied') return null;
    throw error;
  }
}

/**
 * @param {unknown} error
 * @returns {DeviceProblem}
 */
export function problemOf(error) {
  // Not everywhere an OverconstrainedError is a DOMException.
  const name = error instanceof Object && 'name' in error ? error.name : '';
  if (name === 'NotAllowedError') return 'denied';
  if (name === 'SecurityError') return 'insecure';
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return 'missing';
  if (name === 'NotReadableError' || name === 'AbortError') return 'busy';
  return 'other';
}

/** How loud a track is, for a meter. */
export class LevelMeter {
  #context = new AudioContext();
  #analyser = this.#context.createAnalyser();
  #samples;

  /** @param {MediaStreamTrack} track */
  constructor(track) {
    this.#analyser.fftSize = 512;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#context.createMediaStreamSource(new MediaStream([track])).connect(this.#analyser);
  }

  /** From 0 (silence, -60 dBFS or less) to 1 (full scale). */
  level() {
    // A page that nobody has touched yet may not run an audio context.
    if (this.#context.state === 'suspended') this.#context.resume().catch(() => {});
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    const decibels = 10 * Math.log10(sum / this.#samples.length + 1e-9);
    return Math.min(1, Math.max(0, (decibels + 60) / 60));
  }

  close() {
    this.#context.close();
  }
}
