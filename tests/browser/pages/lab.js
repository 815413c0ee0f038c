// WHIP and WHEP by hand: what the standards ask of a client, and nothing of ours. So a page like
// this one shows what any conforming client sees.

/** How often decoding is looked at; the browser's statistics are no fresher than this. */
const LOOK_EVERY_MS = 20;

const sessions = [];

/** Three encodings, as conferencing pages send them. */
const ENCODINGS = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: 'f', maxBitrate: 1_700_000 },
];

/**
 * Publishes camera and microphone; `codec` is a MIME subtype such as `VP8`, `scalabilityMode` one of
 * W3C's, for each of the encodings. With `grey` (0 to 255) the picture is that, and a spot that moves.
 */
export async function publish(url, { simulcast = true, codec, scalabilityMode, grey } = {}) {
  const video = grey === undefined && { width: { ideal: 1280 }, height: { ideal: 720 } };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video });
  if (grey !== undefined) stream.addTrack(plainPicture(grey));
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  pc.addTransceiver(stream.getAudioTracks()[0], { direction: 'sendonly', streams: [stream] });
  const camera = pc.addTransceiver(stream.getVideoTracks()[0], {
    direction: 'sendonly',
    streams: [stream],
    ...((simulcast || scalabilityMode) && { sendEncodings: modes(simulcast, scalabilityMode) }),
  });
  if (codec) {
    const all = RTCRtpSender.getCapabilities('video').codecs;
    camera.setCodecPreferences(
      all.filter(one => one.mimeType.toLowerCase() === `video/${codec}`.toLowerCase()),
    );
  }
  await connect(pc, url);
  return sessions.length - 1;
}

/** Three encodings or one, each with the layers of a mode where there is one. */
function modes(simulcast, scalabilityMode) {
  const encodings = simulcast ? ENCODINGS : [{ maxBitrate: 2_000_000 }];
  return encodings.map(encoding => ({ ...encoding, ...(scalabilityMode && { scalabilityMode }) }));
}

/** What a camera would see before a wall of one colour, where something moves. */
function plainPicture(grey) {
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
  const brush = canvas.getContext('2d');
  let drawn = 0;
  const draw = () => {
    brush.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    brush.fillRect(0, 0, canvas.width, canvas.height);
    brush.fillStyle = 'teal';
    brush.fillRect((7 * drawn) % canvas.width, canvas.height - 20, 20, 20);
    drawn += 1;
  };
  draw();
  setInterval(draw, 1000 / 20);
  return canvas.captureStream().getVideoTracks()[0];
}

/**
 * Watches, and tells how long after its POST the first frame was decoded. Audio is played too, or
 * it would not be decoded. With `via` media goes by another UDP port than the answer names.
 */
export async function watch(url, { timeoutMs = 10_000, via } = {}) {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const element = document.body.appendChild(document.createElement('video'));
  element.srcObject = new MediaStream();
  element.autoplay = true;
  element.playsInline = true;
  for (const kind of ['video', 'audio']) {
    element.srcObject.addTrack(pc.addTransceiver(kind, { direction: 'recvonly' }).receiver.track);
  }
  const posted = await connect(pc, url, via);
  const session = sessions.length - 1;
  for (;;) {
    const waitedMs = performance.now() - posted;
    const video = await inbound(pc, 'video');
    if (video?.framesDecoded > 0) return { session, firstFrameMs: waitedMs };
    if (waitedMs > timeoutMs) return { session, firstFrameMs: null, video };
    await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Watches what the server offers (WHEP's counter-offer): the answer goes to the session. */
export async function answer(url) {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const element = document.body.appendChild(document.createElement('video'));
  element.srcObject = new MediaStream();
  element.autoplay = true;
  element.playsInline = true;
  pc.addEventListener('track', ({ track }) => element.srcObject.addTrack(track));
  const offered = await fetch(url, { method: 'POST' });
  if (offered.status !== 406) throw new Error(`POST ${url} answered ${offered.status}`);
  const location = new URL(offered.headers.get('Location'), url).href;
  await pc.setRemoteDescription({ type: 'offer', sdp: await offered.text() });
  await pc.setLocalDescription();
  const taken = await fetch(location, {
    method: 'PATCH',
    headers: { 'Content-Type': 'application/sdp', 'If-Match': offered.headers.get('ETag') },
    body: pc.localDescription.sdp,
  });
  if (taken.status !== 204) throw new Error(`PATCH answered ${taken.status}: ${await taken.text()}`);
  sessions.push({ pc, location });
  return sessions.length - 1;
}

/** What a watching session has received so far. */
export async function received(session) {
  const { pc } = sessions[session];
  return { video: await inbound(pc, 'video'), audio: await inbound(pc, 'audio') };
}

/** Notes from now on, every 50 ms, what a watching session shows; `observed` gives what was noted. */
export function observe(session) {
  const { pc } = sessions[session];
  const notes = [];
  sessions[session].notes = notes;
  sessions[session].observing = setInterval(async () => {
    const [video, audio] = [await inbound(pc, 'video'), await inbound(pc, 'audio')];
    if (!video) return;
    notes.push({
      at: performance.timeOrigin + performance.now(),
      frames: video.framesDecoded,
      height: video.frameHeight,
      bytes: video.bytesReceived,
      frozenS: video.totalFreezesDuration,
      lost: video.packetsLost,
      keyframesAsked: video.pliCount,
      audioLost: audio?.packetsLost,
      concealed: audio?.concealedSamples,
    });
  }, 50);
}

/** What `observe` has noted so far. */
export function observed(session) {
  return sessions[session].notes;
}

/** Stops one of the encodings that a session sends. */
export async function stopEncoding(session, rid) {
  const sender = sessions[session].pc.getSenders().find(({ track }) => track?.kind === 'video');
  const parameters = sender.getParameters();
  parameters.encodings.find(encoding => encoding.rid === rid).active = false;
  await sender.setParameters(parameters);
}

/** Where a session's video stands among its m-lines, and its MID. */
export function videoLine(session) {
  const lines = sessions[session].pc.getTransceivers();
  const index = lines.findIndex(({ receiver }) => receiver.track.kind === 'video');
  return { index, mid: lines[index].mid };
}

/** The URL of a session. */
export function locationOf(session) {
  return sessions[session].location;
}

/** Ends a session as the standards ask. */
export async function stop(session) {
  const { pc, location } = sessions[session];
  const { status } = await fetch(location, { method: 'DELETE' });
  pc.close();
  return status;
}

/** Posts the offer and takes the answer; returns when the POST was sent. */
async function connect(pc, url, via) {
  await pc.setLocalDescription();
  const posted = performance.now();
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp' },
    body: pc.localDescription.sdp,
  });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`POST ${url} answered ${response.status}: ${text}`);
  sessions.push({ pc, location: new URL(response.headers.get('Location'), url).href });
  await pc.setRemoteDescription({ type: 'answer', sdp: via ? throughPort(text, via) : text });
  return posted;
}

/** An answer whose only way is a UDP port that is not the server's own. */
function throughPort(answer, port) {
  const udp = answer.replace(/^a=candidate:\S+ \d tcp .*\r\n/gim, '');
  return udp.replace(/^(a=candidate:\S+ \d udp \d+ \S+) \d+/gim, `$1 ${port}`);
}

async function inbound(pc, kind) {
  for (const stat of (await pc.getStats()).values()) {
    if (stat.type === 'inbound-rtp' && stat.kind === kind) return { ...stat };
  }
  return null;
}
