// Runs in a page of the server's, function by function: the web client's modules as any page uses them.

/** Publishes as ada, watches her, and returns the relay that the player was told of. */
export async function oneWay(room) {
  const { WhipPublisher } = await import('/whip.js');
  const { WhepPlayer } = await import('/whep.js');
  const publisher = new WhipPublisher(`/whip/${room}/ada`);
  await publisher.publish(await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));
  const player = new WhepPlayer(`/whep/${room}/ada`);
  await player.play();
  const element = document.body.appendChild(document.createElement('video'));
  element.muted = true;
  element.autoplay = true;
  element.srcObject = player.stream;
  globalThis.pcs = { publisher: publisher.pc, player: player.pc };
  const [{ username, credential }] = player.pc.getConfiguration().iceServers;
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
}
