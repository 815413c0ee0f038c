// A publisher for any page (RFC 9725).
//
//   import { WhipPublisher } from '/whip.js';
//   const publisher = new WhipPublisher('/whip/demo/ada');
//   await publisher.publish(await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));

import { OneWay } from './one-way.js';
import { cameraEncodings, SCREEN_ENCODINGS } from './simulcast.js';

/** Sends one stream, a camera with simulcast, and reconnects by itself until `stop`. */
export class WhipPublisher extends OneWay {
  #stream = new MediaStream();

  /**
   * Publishes all tracks of a stream.
   *
   * @param {MediaStream} stream
   */
  async publish(stream) {
    // Our own, since `replace` changes it.
    this.#stream = new MediaStream(stream.getTracks());
    await this.open();
  }

  /**
   * Sends another track in place of the one of its kind, as from another camera.
   *
   * @param {MediaStreamTrack} track
   */
  async replace(track) {
    for (const old of this.#stream.getTracks()) if (old.kind === track.kind) this.#stream.removeTrack(old);
    this.#stream.addTrack(track);
    const sender = this.pc?.getSenders().find(({ track: sent }) => sent?.kind === track.kind);
    await sender?.replaceTrack(track);
  }

  /** Stops sending; the stream's tracks go on, they are the caller's. */
  stop() {
    return this.close();
  }

  /**
   * @override
   * @param {RTCPeerConnection} pc
   */
  prepare(pc) {
    for (const track of this.#stream.getTracks()) {
      pc.addTransceiver(track, {
        direction: 'sendonly',
        streams: [this.#stream],
        ...(track.kind === 'video' && { sendEncodings: encodingsOf(track) }),
      });
    }
  }
}

/**
 * Who set a track's hint to detail shares something to be read.
 *
 * @param {MediaStreamTrack} track
 */
const encodingsOf = track => (track.contentHint === 'detail' ? SCREEN_ENCODINGS : cameraEncodings(track));
