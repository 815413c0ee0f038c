// Runs in a page of the server's, function by function: publishes by WHIP, watches by WHEP, and
// tells which way media goes.

/** Posts the offer of a connection to a door, with the relays that the server names if that is wanted. */
export async function connect({ name, path, publishes, configuration }) {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', ...configuration });
  globalThis.pcs ??= {};
  globalThis.pcs[name] = pc;
  if (publishes) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    for (const track of stream.getTracks())
      pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
  } else {
    for (const kind of ['audio', 'video']) pc.addTransceiver(kind, { direction: 'recvonly' });
    pc.ontrack = ({ track }) => {
      const element = document.createElement(track.kind);
      element.srcObject = new MediaStream([track]);
      element.autoplay = true;
      document.body.append(element);
    };
  }
  await pc.setLocalDescription();
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp' },
    body: pc.localDescription.sdp,
  });
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
  const sdp = await response.text();
  await pc.setRemoteDescription({ type: 'answer', sdp });
  return { link: response.headers.get('link'), candidates: sdp.match(/^a=candidate:.*$/gm) };
}

/** How media goes, and how much of it there was. */
export async function path(name) {
  const pc = globalThis.pcs[name];
  const stats = await pc.getStats();
  const all = [...stats.values()];
  const transport = all.find(({ type }) => type === 'transport');
  // Firefox marks the pair itself.
  const marked = all.find(({ type, selected }) => type === 'candidate-pair' && selected);
  const pair = stats.get(transport?.selectedCandidatePairId) ?? marked;
  const local = stats.get(pair?.localCandidateId);
  const remote = stats.get(pair?.remoteCandidateId);
  const video = all.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video');
  return {
    state: pc.connectionState,
    protocol: local?.protocol,
    kind: local?.candidateType,
    relay: local?.relayProtocol,
    port: remote?.port,
    family: remote?.address?.includes(':') ? 6 : 4,
    frames: video?.framesDecoded ?? 0,
    frozenS: video?.totalFreezesDuration ?? 0,
  };
}
