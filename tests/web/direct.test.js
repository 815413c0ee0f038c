// A call of two as far as it can be had without a browser: what one tells the other, and when.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { DirectCall } from '../../web/direct.js';

/** A room in which every message is under way until it is let through. */
class SlowRoom extends EventTarget {
  roster = { me: 'ada' };
  said = [];
  underWay = [];

  say(event, data, { to } = {}) {
    this.said.push({ event, to, ...data });
    return new Promise(resolve => this.underWay.push(resolve));
  }

  hear(event, from, data) {
    this.dispatchEvent(new CustomEvent('message', { detail: { event, from, data } }));
  }
}

/** A connection that has something to negotiate from the first. */
class Connection extends EventTarget {
  signalingState = 'stable';
  localDescription = null;

  constructor() {
    super();
    queueMicrotask(() => this.dispatchEvent(new Event('negotiationneeded')));
  }

  async setLocalDescription() {
    const isAnswer = this.signalingState === 'have-remote-offer';
    this.localDescription = { type: isAnswer ? 'answer' : 'offer' };
    this.signalingState = isAnswer ? 'stable' : 'have-local-offer';
  }

  async setRemoteDescription({ type }) {
    this.signalingState = type === 'offer' ? 'have-remote-offer' : 'stable';
  }

  close() {}
}

test('an answer does not overtake the offer that was given up for it', async context => {
  const real = globalThis.RTCPeerConnection;
  globalThis.RTCPeerConnection = Connection;
  context.after(() => {
    globalThis.RTCPeerConnection = real;
  });
  globalThis.MediaStream ??= class {
    getTracks = () => [];
  };
  const room = new SlowRoom();
  new DirectCall(room, new MediaStream());
  room.hear('direct-hello', 'ben', {});
  await turn();
  const told = () => room.said.map(({ description }) => description?.type);
  assert.deepEqual(told(), ['offer']);

  // Ben has called as well, and Ada is the one who gives way.
  room.hear('direct-signal', 'ben', { description: { type: 'offer' } });
  await turn();
  assert.deepEqual(told(), ['offer'], 'her answer waits');
  room.underWay.shift()();
  await turn();
  assert.deepEqual(told(), ['offer', 'answer']);
});
