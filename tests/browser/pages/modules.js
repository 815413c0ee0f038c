// Somebody else's page, built from the web client's modules: the least that makes a room, a
// publisher and a player.

import { Room } from './web/room.js';
import { WhepPlayer } from './web/whep.js';
import { WhipPublisher } from './web/whip.js';

const devices = (video = { width: 1280, height: 720 }) =>
  navigator.mediaDevices.getUserMedia({ audio: true, video });

export const states = [];
export let room;

/** Joins a room; who only watches sends nothing. */
export async function join(server, name, { watchOnly = false } = {}) {
  room = new Room({ room: 'workshop', name, server });
  room.addEventListener('state', ({ detail }) => states.push(detail));
  await room.join(watchOnly ? [] : await ownTracks());
  const element = document.body.appendChild(document.createElement('audio'));
  element.autoplay = true;
  element.srcObject = new MediaStream(room.voices);
}

async function ownTracks() {
  const stream = await devices();
  return [
    { source: 'microphone', track: stream.getAudioTracks()[0], muted: false },
    { source: 'camera', track: stream.getVideoTracks()[0], muted: false },
  ];
}

/** Names of the others, as the server tells them. */
export const others = () => room.roster.others.map(({ name }) => name).sort();

/** Asks for the cameras of these people, perhaps with so many frames a second; false while one of them is not known yet. */
export function want(names, width = 640, height = 360, fps = undefined) {
  const cameras = names.map(name => {
    const person = room.roster.others.find(other => other.name === name);
    return person && room.roster.track(person.id, 'camera');
  });
  if (cameras.includes(undefined)) return false;
  room.want(cameras.map(({ id }) => ({ track: id, width, height, ...(fps && { fps }) })));
  return true;
}

/** The ICE user fragment that is in use here. */
export const ufrag = () => /a=ice-ufrag:(\S+)/.exec(room.pc.currentLocalDescription.sdp)[1];

export let publisher;
export let player;

export async function publish(url, size) {
  publisher = new WhipPublisher(url);
  await publisher.publish(await devices(size));
}

export async function play(url) {
  player = new WhepPlayer(url);
  const element = document.body.appendChild(document.createElement('video'));
  element.autoplay = true;
  element.srcObject = player.stream;
  await player.play();
}
