// libwebrtc without a browser, as the npm package @roamhq/wrtc brings it: an older one, with passive TCP
// candidates, and without H264.

import wrtc from '@roamhq/wrtc';

import { post, tell, tellNowAndThen, untilTold, words } from './driver.mjs';

const WIDTH = 640;
const HEIGHT = 360;
const FRAMES_PER_SECOND = 30;
const SAMPLE_RATE_HZ = 48_000;
/** Its audio source takes ten milliseconds at a time. */
const SAMPLES = SAMPLE_RATE_HZ / 100;

const { role, url } = words();
const { RTCAudioSource, RTCVideoSource, RTCVideoSink, RTCAudioSink } = wrtc.nonstandard;
const peer = new wrtc.RTCPeerConnection({ bundlePolicy: 'max-bundle' });
const seen = { frames: 0, audio: 0 };

function publish() {
  const picture = new RTCVideoSource();
  const sound = new RTCAudioSource();
  peer.addTransceiver(sound.createTrack(), { direction: 'sendonly' });
  peer.addTransceiver(picture.createTrack(), { direction: 'sendonly' });
  const data = new Uint8ClampedArray(WIDTH * HEIGHT * 1.5).fill(128);
  let frames = 0;
  setInterval(() => {
    frames += 1;
    // A bar that wanders through the luma.
    data.fill(40, 0, WIDTH * HEIGHT);
    data.fill(220, WIDTH * ((4 * frames) % HEIGHT), WIDTH * (((4 * frames) % HEIGHT) + 1));
    picture.onFrame({ width: WIDTH, height: HEIGHT, data });
  }, 1000 / FRAMES_PER_SECOND);
  let at = 0;
  setInterval(() => {
    const samples = Int16Array.from({ length: SAMPLES }, () => {
      at += 1;
      return 8000 * Math.sin((2 * Math.PI * 440 * at) / SAMPLE_RATE_HZ);
    });
    sound.onData({
      samples,
      sampleRate: SAMPLE_RATE_HZ,
      bitsPerSample: 16,
      channelCount: 1,
      numberOfFrames: SAMPLES,
    });
  }, 10);
}

function play() {
  peer.ontrack = ({ track }) => {
    const sink = track.kind === 'video' ? new RTCVideoSink(track) : new RTCAudioSink(track);
    if (track.kind === 'video') {
      sink.onframe = () => {
        seen.frames += 1;
      };
    } else {
      sink.ondata = ({ samples }) => {
        if (samples.some(sample => Math.abs(sample) > 100)) seen.audio += 1;
      };
    }
  };
  for (const kind of ['audio', 'video']) peer.addTransceiver(kind, { direction: 'recvonly' });
}

if (role === 'publish') publish();
else play();
const connected = new Promise(resolve => {
  peer.onconnectionstatechange = () => {
    if (peer.connectionState === 'connected') resolve();
  };
});
const gathered = new Promise(resolve => {
  peer.onicegatheringstatechange = () => {
    if (peer.iceGatheringState === 'complete') resolve();
  };
});
await peer.setLocalDescription(await peer.createOffer());
await gathered;
const { answer, leave } = await post(url, peer.localDescription.sdp);
await peer.setRemoteDescription({ type: 'answer', sdp: answer });
await connected;
tell({ connected: true });
if (role === 'play') tellNowAndThen(() => seen);
await untilTold(leave);
