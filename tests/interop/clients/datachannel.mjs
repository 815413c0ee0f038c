// libdatachannel, the stack of OBS: no header extensions, one socket, H264 by a profile of its own.

import { setTimeout as sleep } from 'node:timers/promises';

import stack from 'node-datachannel';

import {
  Arrivals,
  AUDIO_PAYLOAD_TYPE,
  AUDIO_SSRC,
  post,
  rtpSource,
  tell,
  tellNowAndThen,
  untilTold,
  VIDEO_PAYLOAD_TYPE,
  VIDEO_SSRC,
  words,
} from './driver.mjs';

const { role, url, codec, profile } = words();
const direction = role === 'publish' ? 'SendOnly' : 'RecvOnly';
const peer = new stack.PeerConnection('peer', { iceServers: [], disableAutoNegotiation: true });

const audio = new stack.Audio('audio', direction);
audio.addOpusCodec(AUDIO_PAYLOAD_TYPE);
const video = new stack.Video('video', direction);
const format = profile ? [`profile-level-id=${profile};packetization-mode=1`] : [];
if (codec === 'H264') video.addH264Codec(VIDEO_PAYLOAD_TYPE, ...format);
else video.addVP8Codec(VIDEO_PAYLOAD_TYPE);
if (role === 'publish') {
  audio.addSSRC(AUDIO_SSRC, 'cname', 'stream', 'audio');
  video.addSSRC(VIDEO_SSRC, 'cname', 'stream', 'video');
}
const audioTrack = peer.addTrack(audio);
const videoTrack = peer.addTrack(video);

const arrivals = new Arrivals(codec);
if (role === 'play') {
  // Its session sends receiver reports, and hands RTP on.
  for (const track of [audioTrack, videoTrack]) track.setMediaHandler(new stack.RtcpReceivingSession());
  videoTrack.onMessage(packet => arrivals.video(packet));
  audioTrack.onMessage(() => {
    arrivals.audio += 1;
  });
}

const connected = new Promise(resolve => {
  peer.onStateChange(state => {
    if (state === 'connected') resolve();
  });
});
peer.setLocalDescription('offer');
while (peer.gatheringState() !== 'complete') await sleep(20);
const { answer, leave } = await post(url, peer.localDescription().sdp);
peer.setRemoteDescription(answer, 'answer');
await connected;
tell({ connected: true });

if (role === 'publish') {
  const sendOn = track => packet => {
    if (track.isOpen()) track.sendMessageBinary(packet);
  };
  await rtpSource(codec, sendOn(videoTrack), sendOn(audioTrack));
} else {
  tellNowAndThen(() => arrivals.counts);
}
await untilTold(leave);
