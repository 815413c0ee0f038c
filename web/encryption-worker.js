// The worker through which every frame of an encrypted room passes (WebRTC encoded transforms).

import { FrameOpener, FrameSealer } from './frame-crypto.js';

/**
 * @typedef {object} TransformOptions
 * @property {CryptoKey} key the room's
 * @property {'audio' | 'video'} kind
 * @property {number | null} slot what is told of when it becomes readable or stops being; null to seal
 */

/** @param {TransformOptions} options */
function sealing({ key, kind }) {
  const sealer = new FrameSealer(key, kind);
  return async (/** @type {any} */ frame, /** @type {any} */ controller) => {
    const sealed = await sealer.seal(new Uint8Array(frame.data));
    frame.data = sealed.buffer;
    controller.enqueue(frame);
  };
}

/** @param {TransformOptions} options */
function opening({ key, kind, slot }) {
  const opener = new FrameOpener(key, kind);
  let wasReadable = true;
  return async (/** @type {any} */ frame, /** @type {any} */ controller) => {
    const opened = await opener.open(new Uint8Array(frame.data));
    const isReadable = opened !== null;
    if (isReadable !== wasReadable) postMessage({ slot, isReadable });
    wasReadable = isReadable;
    // What cannot be opened is never played, be it noise or somebody who does not encrypt.
    if (!opened) return;
    frame.data = opened.buffer;
    controller.enqueue(frame);
  };
}

addEventListener('rtctransform', event => {
  const { readable, writable, options } = /** @type {any} */ (event).transformer;
  const transform = options.slot === null ? sealing(options) : opening(options);
  // Ends with an error when the connection closes, which is nobody's concern.
  readable
    .pipeThrough(new TransformStream({ transform }))
    .pipeTo(writable)
    .catch(() => {});
});
