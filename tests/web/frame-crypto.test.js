// Sealing of media frames. Run with `npm run test:web`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameOpener, FrameSealer, OVERHEAD_BYTES, roomKey } from '../../web/frame-crypto.js';

/** VP8: the lowest bit of the first byte is 0 in keyframes (RFC 6386 §9.1). */
const KEYFRAME = Uint8Array.from({ length: 40 }, (_, at) => at * 2);
const INTERFRAME = Uint8Array.from({ length: 40 }, (_, at) => at * 2 + 1);

const key = await roomKey('correct horse', 'demo');

test('what is sealed is opened again, frame by frame', async () => {
  const sealer = new FrameSealer(key, 'video');
  const opener = new FrameOpener(key, 'video');
  for (const frame of [KEYFRAME, INTERFRAME, INTERFRAME, Uint8Array.of(), Uint8Array.of(1, 2)]) {
    const sealed = await sealer.seal(frame);
    assert.equal(sealed.length, frame.length + OVERHEAD_BYTES);
    assert.deepEqual(await opener.open(sealed), frame);
  }
});

test('of a picture the header stays readable, and of sound nothing', async () => {
  /** How many bytes at the beginning are as they were. */
  const same = (frame, sealed) => frame.findIndex((byte, at) => byte !== sealed[at]);
  const video = new FrameSealer(key, 'video');
  assert.deepEqual((await video.seal(KEYFRAME)).subarray(0, 10), KEYFRAME.subarray(0, 10));
  assert.ok(same(KEYFRAME, await video.seal(KEYFRAME)) < 14);
  assert.deepEqual((await video.seal(INTERFRAME)).subarray(0, 3), INTERFRAME.subarray(0, 3));
  assert.ok(same(INTERFRAME, await video.seal(INTERFRAME)) < 7);
  assert.ok(same(KEYFRAME, await new FrameSealer(key, 'audio').seal(KEYFRAME)) < 4);
});

test('the same frame is never sealed the same way twice', async () => {
  const sealer = new FrameSealer(key, 'audio');
  const other = new FrameSealer(key, 'audio');
  const sealed = await Promise.all([sealer.seal(KEYFRAME), other.seal(KEYFRAME)]);
  sealed.push(await sealer.seal(KEYFRAME));
  assert.equal(new Set(sealed.map(frame => frame.join())).size, 3);
});

test('nothing opens with another passphrase or in another room', async () => {
  const sealed = await new FrameSealer(key, 'video').seal(KEYFRAME);
  for (const other of [await roomKey('correct house', 'demo'), await roomKey('correct horse', 'demo2')]) {
    assert.equal(await new FrameOpener(other, 'video').open(sealed), null);
  }
});

test('what was changed on the way, or never sealed, is not opened', async () => {
  const sealed = await new FrameSealer(key, 'video').seal(KEYFRAME);
  const opener = new FrameOpener(key, 'video');
  for (let at = 0; at < sealed.length; at += 1) {
    const changed = sealed.slice();
    changed[at] ^= 0x40;
    assert.equal(await opener.open(changed), null, `byte ${at}`);
  }
  for (let length = 0; length < sealed.length; length += 1) {
    assert.equal(await opener.open(sealed.slice(0, length)), null, `${length} bytes`);
  }
  assert.equal(await opener.open(KEYFRAME), null);
});

test('a key cannot be read out', async () => {
  assert.equal(key.extractable, false);
  await assert.rejects(crypto.subtle.exportKey('raw', key));
});
