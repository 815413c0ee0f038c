// The clients that need no browser: how each is started, and what it says while it runs.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const driver = name => fileURLToPath(new URL(`../clients/${name}`, import.meta.url));

/** Debian's own Python has Debian's GStreamer bindings; aiortc is in an environment of its own. */
const DEBIAN_PYTHON = '/usr/bin/python3';
const PYTHON = process.env.PLENUM_PYTHON ?? 'python3';
const FFMPEG = process.env.FFMPEG ?? 'ffmpeg';
/** Built of `clients/pion`. */
const PION = process.env.PLENUM_PION ?? 'pion';

/** Each makes a command line of what to do (`publish`, `play`), the URL and the codec. */
export const gstreamer = (role, url, codec) => [DEBIAN_PYTHON, driver('webrtcbin.py'), role, url, codec];
export const aiortc = (role, url, codec) => [PYTHON, driver('aiortc_client.py'), role, url, codec];
const node = name => (role, url, codec) => [process.execPath, driver(name), role, url, codec];
export const libdatachannel = node('datachannel.mjs');
/** It offers H264 as Constrained High, level 5.1: a profile that no browser lists, and all decode. */
export const libdatachannelHigh = (...words) => [...libdatachannel(...words), '640c33'];
export const werift = node('werift.mjs');
export const libwebrtc = node('libwebrtc.mjs');
export const pion = (...words) => [PION, ...words];

/** A keyframe every two seconds: FFmpeg offers no feedback by which one could be asked for. */
export const FFMPEG_KEYFRAMES_MS = 2000;

/** FFmpeg's `whip` muxer, with further options; it can only publish. */
export const ffmpeg =
  (more = '') =>
  (_role, url) => {
    const inputs =
      '-re -f lavfi -i testsrc2=size=640x360:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000';
    const keyframes = (30 * FFMPEG_KEYFRAMES_MS) / 1000;
    const video = `-c:v libx264 -profile:v baseline -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g ${keyframes} -bf 0`;
    const audio = '-c:a libopus -ac 2 -b:a 64k';
    return `${FFMPEG} -hide_banner -loglevel warning ${inputs} ${video} ${audio} ${more} -f whip ${url}`.split(
      / +/,
    );
  };

/** A client that runs, with what it said last. */
export class Client {
  /** The newest values of what its driver told (`connected`, `frames`, `audio` …). */
  told = {};
  #child;
  #log = '';

  constructor([program, ...args]) {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    let unread = '';
    child.stdout.setEncoding('utf8').on('data', text => {
      const lines = (unread + text).split('\n');
      unread = lines.pop();
      for (const line of lines) {
        if (line.startsWith('{')) Object.assign(this.told, JSON.parse(line));
        else this.#log += `${line}\n`;
      }
    });
    child.stderr.setEncoding('utf8').on('data', text => {
      this.#log += text;
    });
    child.on('error', error => {
      this.#log += error.message;
    });
    const kill = () => child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.off('exit', kill));
  }

  /** What it said, to be added to a failure. Throws if it has ended by itself. */
  assertRunning() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new Error(this.lastWords);
  }

  get lastWords() {
    return `\n--- the client said ---\n${JSON.stringify(this.told)}\n${this.#log.slice(-4000)}`;
  }

  /** Ends it and waits for that, and for all that it says; SIGTERM and SIGINT let it leave properly. */
  async end(signal) {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'close', { signal: AbortSignal.timeout(10_000) });
    child.kill(signal);
    await closed;
  }

  kill() {
    this.#child.kill('SIGKILL');
  }
}
