// Runs in a page of the server's, function by function: the web client's modules as any page uses them.

/** Publishes as ada, watches her, and returns the relay that the player was told of. */
export async function oneWay(room) {
  const { WhipPublisher } = await import('/whip.js');
  const { WhepPlayer } = await import('/whep.js');
  const { parseIceServers } = await import('/session.js');
  // Relays are asked only where no direct way is found: what was told stands in the answer's head.
  let links = '';
  const real = globalThis.fetch;
  globalThis.fetch = async (...request) => {
    const response = await real(...request);
    links = response.headers.get('Link') ?? links;
    return response;
  };
  const publisher = new WhipPublisher(`/whip/${room}/ada`);
  await publisher.publish(await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));
  const player = new WhepPlayer(`/whep/${room}/ada`);
  await player.play();
  const element = document.body.appendChild(document.createElement('video'));
  element.muted = true;
  element.autoplay = true;
  element.srcObject = player.stream;
  globalThis.pcs = { publisher: publisher.pc, player: player.pc };
  globalThis.clients = { publisher, player };
  const [{ username, credential } = {}] = parseIceServers(links);
  return { username, credential };
}

/** Ada and Bob join a room, and Bob sees her. */
export async function meet(room) {
  const { Room } = await import('/room.js');
  const stream = await navigator.mediaDevices.getUserMedia({ video: true });
  const ada = new Room({ room, name: 'Ada' });
  await ada.join([{ source: 'camera', track: stream.getVideoTracks()[0], muted: false }]);
  const bob = new Room({ room, name: 'Bob' });
  bob.addEventListener('binding', () => {
    for (const { receiver } of bob.pc.getTransceivers()) {
      if (receiver.track.kind !== 'video') continue;
      const element = document.body.appendChild(document.createElement('video'));
      element.muted = true;
      element.autoplay = true;
      element.srcObject = new MediaStream([receiver.track]);
    }
  });
  await bob.join([]);
  globalThis.pcs = { ada: ada.pc, bob: bob.pc };
  globalThis.clients = { ada, bob };
}

/** Notes from now on how long a picture stands still. */
export function watchGaps(name) {
  const pc = globalThis.pcs[name];
  const gaps = { frames: 0, at: performance.now(), longestMs: 0 };
  globalThis.gaps = gaps;
  setInterval(async () => {
    const stats = await pc.getStats();
    let frames = 0;
    for (const { type, kind, framesDecoded } of stats.values()) {
      if (type === 'inbound-rtp' && kind === 'video') frames += framesDecoded;
    }
    if (frames === gaps.frames) return;
    const now = performance.now();
    gaps.longestMs = Math.max(gaps.longestMs, now - gaps.at);
    gaps.frames = frames;
    gaps.at = now;
  }, 50);
}

/** The longest of them so far, and how long it stands still now; begins anew. */
export function longestGap(name) {
  const { gaps, clients, pcs } = globalThis;
  const { longestMs } = gaps;
  gaps.longestMs = 0;
  return { longestMs, currentMs: performance.now() - gaps.at, isSame: clients[name].pc === pcs[name] };
}

/** Which ways to the server work. */
export async function tryWays() {
  const { testConnection } = await import('/connection-test.js');
  const trials = await testConnection('tried');
  return trials.filter(({ roundTripMs }) => roundTripMs !== null).map(({ way }) => way);
}
