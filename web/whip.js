// A publisher for any page (RFC 9725).
//
//   import { WhipPublisher } from '/whip.js';
//   const publisher = new WhipPublisher('/whip/demo/ada');
//   await publisher.publish(await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));

import { OneWay } from './one-way.js';
import { cameraEncodings } from './simulcast.js';

/** Sends one stream, with simulcast, and reconnects by itself until `stop`. */
export class WhipPublisher extends OneWay {
  #stream = new MediaStream();

  /**
   * Publishes all tracks of a stream.
   *
   * @param {MediaStream} stream
   */
  async publish(stream) {
    this.#stream = stream;
    await this.open();
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
        ...(track.kind === 'video' && { sendEncodings: cameraEncodings(track) }),
      });
    }
  }
}
