// A player for any page (draft-ietf-wish-whep).
//
//   import { WhepPlayer } from '/whep.js';
//   const player = new WhepPlayer('/whep/demo');
//   video.srcObject = player.stream;
//   await player.play();

import { readDescriptors } from './codecs.js';
import { OneWay } from './one-way.js';

/**
 * Receives one video and one audio track, and reconnects by itself until `stop`. `stream` stays
 * the same object over reconnects; its tracks are replaced.
 */
export class WhepPlayer extends OneWay {
  stream = new MediaStream();

  /** Connects; resolves when the server has accepted, pictures follow when there are some. */
  play() {
    return this.open();
  }

  /** Stops receiving. */
  stop() {
    return this.close();
  }

  /**
   * @override
   * @param {RTCPeerConnection} pc
   */
  prepare(pc) {
    for (const old of this.stream.getTracks()) this.stream.removeTrack(old);
    for (const kind of ['video', 'audio']) {
      const transceiver = pc.addTransceiver(kind, { direction: 'recvonly' });
      readDescriptors(transceiver);
      this.stream.addTrack(transceiver.receiver.track);
    }
  }
}
