// A page made of other people's WHIP and WHEP libraries from npm, as their READMEs use them.

import { WebRTCPlayer } from '@eyevinn/webrtc-player';
import { WHIPClient as EyevinnPublisher } from '@eyevinn/whip-web-client';
import { WHEPClient } from 'whip-whep/whep.js';
import { WHIPClient } from 'whip-whep/whip.js';

const camera = () => navigator.mediaDevices.getUserMedia({ audio: true, video: true });

function screen() {
  const video = document.body.appendChild(document.createElement('video'));
  Object.assign(video, { autoplay: true, playsInline: true, srcObject: new MediaStream() });
  return video;
}

/** whip-whep: posts before it gathers, trickles, restarts. */
globalThis.murillo = {
  publish: async url => {
    const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    for (const track of (await camera()).getTracks()) peer.addTransceiver(track, { direction: 'sendonly' });
    const client = new WHIPClient();
    await client.publish(peer, url);
    globalThis.client = client;
  },
  play: async url => {
    const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    const video = screen();
    for (const kind of ['audio', 'video']) {
      video.srcObject.addTrack(peer.addTransceiver(kind, { direction: 'recvonly' }).receiver.track);
    }
    const client = new WHEPClient();
    await client.view(peer, url);
    globalThis.client = client;
  },
  /** Restarts ICE, and tells both user fragments before and after. */
  restart: async () => {
    const { client } = globalThis;
    const fragments = () =>
      [client.pc.localDescription.sdp, client.pc.remoteDescription.sdp].map(
        sdp => /a=ice-ufrag:(\S+)/.exec(sdp)[1],
      );
    const before = fragments();
    await client.restart();
    return { before, after: fragments() };
  },
  stop: () => globalThis.client.stop(),
};

/** Eyevinn's: asks by OPTIONS first. */
globalThis.eyevinn = {
  publish: async url => {
    const client = new EyevinnPublisher({ endpoint: url, opts: { iceServers: [] } });
    await client.ingest(await camera());
    globalThis.client = client;
  },
  play: async url => {
    const player = new WebRTCPlayer({ video: screen(), type: 'whep', iceServers: [] });
    await player.load(new URL(url));
    globalThis.client = player;
  },
  stop: () => (globalThis.client.unload ?? globalThis.client.destroy).call(globalThis.client),
};
