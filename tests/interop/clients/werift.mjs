// werift: WebRTC in TypeScript, with header extensions and payload types of its own.

import { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters } from 'werift';

import {
  Arrivals,
  AUDIO_PAYLOAD_TYPE,
  post,
  rtpSource,
  tell,
  tellNowAndThen,
  untilTold,
  VIDEO_PAYLOAD_TYPE,
  words,
} from './driver.mjs';

const { role, url, codec } = words();
const video = new RTCRtpCodecParameters({
  mimeType: `video/${codec}`,
  clockRate: 90_000,
  payloadType: VIDEO_PAYLOAD_TYPE,
  rtcpFeedback: [{ type: 'nack' }, { type: 'nack', parameter: 'pli' }],
});
const audio = new RTCRtpCodecParameters({
  mimeType: 'audio/opus',
  clockRate: 48_000,
  channels: 2,
  payloadType: AUDIO_PAYLOAD_TYPE,
});
const peer = new RTCPeerConnection({
  codecs: { audio: [audio], video: [video] },
  bundlePolicy: 'max-bundle',
  iceServers: [],
  iceAdditionalHostAddresses: ['127.0.0.1'],
});

const direction = role === 'publish' ? 'sendonly' : 'recvonly';
const sent = {
  video: new MediaStreamTrack({ kind: 'video' }),
  audio: new MediaStreamTrack({ kind: 'audio' }),
};
const arrivals = new Arrivals(codec);
for (const kind of ['video', 'audio']) {
  const transceiver = peer.addTransceiver(role === 'publish' ? sent[kind] : kind, { direction });
  if (role === 'publish') continue;
  transceiver.onTrack.subscribe(track => {
    track.onReceiveRtp.subscribe(packet => {
      if (track.kind === 'audio') arrivals.audio += 1;
      else arrivals.video(packet.serialize());
    });
  });
}

const connected = peer.connectionStateChange.watch(state => state === 'connected');
await peer.setLocalDescription(await peer.createOffer());
const { answer, leave } = await post(url, peer.localDescription.sdp);
await peer.setRemoteDescription({ type: 'answer', sdp: answer });
await connected;
tell({ connected: true });

if (role === 'publish') {
  await rtpSource(
    codec,
    packet => sent.video.writeRtp(packet),
    packet => sent.audio.writeRtp(packet),
  );
} else {
  tellNowAndThen(() => arrivals.counts);
}
await untilTold(leave);
