// What the drivers of clients without a browser have in common. Each is a process of its own,
//
//     node datachannel.mjs publish|play URL VP8|H264 [profile-level-id]
//
// that tells what it sees as lines of JSON, and leaves as the standards ask when it gets SIGTERM.

import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

export const VIDEO_PAYLOAD_TYPE = 96;
export const AUDIO_PAYLOAD_TYPE = 111;
export const VIDEO_SSRC = 1111;
export const AUDIO_SSRC = 2222;

/** How often a player says what it has seen. */
const TELL_EVERY_MS = 200;

const ENCODERS = {
  VP8: '-c:v libvpx -deadline realtime -cpu-used 8 -b:v 800k',
  H264: '-c:v libx264 -profile:v baseline -preset ultrafast -tune zerolatency -b:v 800k -bsf:v dump_extra=freq=keyframe',
};

/** The words of the command line. */
export function words() {
  const [role, url, codec, profile] = process.argv.slice(2);
  if (!['publish', 'play'].includes(role) || !ENCODERS[codec]) throw new Error('publish|play URL VP8|H264');
  return { role, url, codec, profile };
}

export const tell = what => process.stdout.write(`${JSON.stringify(what)}\n`);

/** Posts an offer; `leave` ends the session that it made. */
export async function post(url, offer) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp' },
    body: offer,
  });
  const answer = await response.text();
  if (response.status !== 201) throw new Error(`${response.status}: ${answer}`);
  const session = new URL(response.headers.get('Location'), url);
  return { answer, leave: async () => (await fetch(session, { method: 'DELETE' })).status };
}

/** Waits for SIGTERM, then does what `leave` does and ends. */
export async function untilTold(leave) {
  await once(process, 'SIGTERM');
  tell({ left: await leave() });
  process.exit(0);
}

/**
 * Test pictures and sound as RTP, from FFmpeg, for stacks that bring no encoder: a keyframe every two
 * seconds, like an encoder that is set up well and heeds no request for one.
 */
export async function rtpSource(codec, onVideo, onAudio) {
  const video = await receiver(onVideo);
  const audio = await receiver(onAudio);
  const to = (payloadType, ssrc, port) =>
    `-f rtp -payload_type ${payloadType} -ssrc ${ssrc} rtp://127.0.0.1:${port}?pkt_size=1200`;
  const inputs =
    '-re -f lavfi -i testsrc2=size=640x360:rate=30 -re -f lavfi -i sine=frequency=440:sample_rate=48000';
  const command =
    `${inputs} -map 0:v -pix_fmt yuv420p -g 60 ${ENCODERS[codec]} ${to(VIDEO_PAYLOAD_TYPE, VIDEO_SSRC, video)} ` +
    `-map 1:a -c:a libopus -ac 2 -b:a 64k ${to(AUDIO_PAYLOAD_TYPE, AUDIO_SSRC, audio)}`;
  const ffmpeg = spawn(
    process.env.FFMPEG ?? 'ffmpeg',
    ['-hide_banner', '-loglevel', 'error', ...command.split(' ')],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  process.once('exit', () => ffmpeg.kill('SIGKILL'));
}

async function receiver(onPacket) {
  const socket = createSocket('udp4');
  // FFmpeg's reports come to the port after the one that it is told: nobody listens there.
  socket.on('message', onPacket).bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket.address().port;
}

/** Tells, now and then, what `count` gives. */
export function tellNowAndThen(count) {
  setInterval(() => tell(count()), TELL_EVERY_MS).unref();
}

/** Counts what arrives as RTP, for stacks that bring no decoder. */
export class Arrivals {
  #codec;
  #next = null;
  frames = 0;
  keyframes = 0;
  gaps = 0;
  audio = 0;

  constructor(codec) {
    this.#codec = codec;
  }

  /** One packet of video: a frame is over with its marker. */
  video(packet) {
    const { number, marker, payload } = read(packet);
    if (this.#next !== null && number !== this.#next) this.gaps += 1;
    this.#next = (number + 1) & 0xffff;
    if (beginsKeyframe[this.#codec](payload)) this.keyframes += 1;
    if (marker && this.keyframes > 0) this.frames += 1;
  }

  get counts() {
    const { frames, keyframes, gaps, audio } = this;
    return { frames, keyframes, gaps, audio };
  }
}

/** Sequence number, marker and payload of an RTP packet (RFC 3550 §5.1). */
function read(packet) {
  let at = 12 + 4 * (packet[0] & 15);
  if (packet[0] & 16) at += 4 + 4 * packet.readUInt16BE(at + 2);
  return { number: packet.readUInt16BE(2), marker: (packet[1] & 128) !== 0, payload: packet.subarray(at) };
}

const beginsKeyframe = {
  /** The start of partition 0 (RFC 7741 §4.2), and the frame tag's inverse key frame flag (RFC 6386 §9.1). */
  VP8: payload => {
    if ((payload[0] & 0x1f) !== 0x10) return false;
    let at = 1;
    if (payload[0] & 0x80) {
      const extended = payload[1];
      at += 1;
      if (extended & 0x80) at += payload[at] & 0x80 ? 2 : 1;
      if (extended & 0x40) at += 1;
      if (extended & 0x30) at += 1;
    }
    return (payload[at] & 1) === 0;
  },
  /** An IDR slice: alone, aggregated, or the first of its fragments (RFC 6184 §5). */
  H264: payload => {
    const type = payload[0] & 31;
    if (type === 28) return (payload[1] & 0x80) !== 0 && (payload[1] & 31) === 5;
    if (type !== 24) return type === 5;
    for (let at = 1; at + 2 < payload.length; at += 2 + payload.readUInt16BE(at)) {
      if ((payload[at + 2] & 31) === 5) return true;
    }
    return false;
  },
};
