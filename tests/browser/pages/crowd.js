// Many people in one tab, who send a drawing of themselves and receive nothing: as many browsers
// would be too much for one machine.

const people = [];
/** @type {MediaStreamTrack | undefined} */
let silence;

/**
 * Joins people of these names, with pictures of `size` (all of them are encoded in this tab: let
 * many be small); each third has no microphone. Returns when the server has taken all of them.
 */
export async function join(server, room, names, size) {
  for (const name of names) {
    const who = people.length;
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    const [camera] = globalThis.portrait(who + 1, size).getVideoTracks();
    pc.addTransceiver(camera, { direction: 'sendonly', streams: [new MediaStream([camera])] });
    if (who % 3 !== 2) {
      // Silent, so that nobody is taken for the speaker all the time.
      silence ??= new AudioContext().createMediaStreamDestination().stream.getAudioTracks()[0];
      const microphone = silence.clone();
      pc.addTransceiver(microphone, { direction: 'sendonly', streams: [new MediaStream([microphone])] });
    }
    await pc.setLocalDescription();
    const response = await fetch(`${server}/rooms/${room}/sessions?name=${encodeURIComponent(name)}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: pc.localDescription.sdp,
    });
    const sdp = await response.text();
    if (response.status !== 201) throw new Error(`the room answered ${response.status}: ${sdp}`);
    await pc.setRemoteDescription({ type: 'answer', sdp });
    people.push({ pc, session: new URL(response.headers.get('Location'), server).href });
  }
}

/** All leave. */
export async function leave() {
  for (const { pc, session } of people.splice(0)) {
    await fetch(session, { method: 'DELETE' });
    pc.close();
  }
}
