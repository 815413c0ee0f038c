// Many people in one tab, who send a drawing of themselves and receive nothing: as many browsers
// would be too much for one machine.

const people = [];
/** @type {AudioContext | undefined} */
let sound;

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
    let voice;
    if (who % 3 !== 2) {
      // Silent, so that nobody is taken for the speaker all the time.
      sound ??= new AudioContext();
      voice = sound.createMediaStreamDestination();
      const [microphone] = voice.stream.getAudioTracks();
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
    people.push({ name, voice, pc, session: new URL(response.headers.get('Location'), server).href });
  }
}

/** Lets somebody who has a microphone say syllables, two in a second, for as long as they are here. */
export function speak(name) {
  const { voice } = people.find(person => person.name === name);
  const pitch = new OscillatorNode(sound, { frequency: 180 });
  const mouth = new GainNode(sound, { gain: 0.2 });
  const syllables = new OscillatorNode(sound, { frequency: 2 });
  const opening = new GainNode(sound, { gain: 0.2 });
  syllables.connect(opening).connect(mouth.gain);
  pitch.connect(mouth).connect(voice);
  for (const source of [pitch, syllables]) source.start();
}

/** All leave. */
export async function leave() {
  for (const { pc, session } of people.splice(0)) {
    await fetch(session, { method: 'DELETE' });
    pc.close();
  }
}
