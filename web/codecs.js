// Which codecs are offered. A browser offers each in all its variants, some 4 kB for every
// m-line, and a page with 25 pictures has 30 of them; the server takes 64 KiB.

/**
 * Whether anybody sends it and the server forwards it: Opus, and of each video codec the profiles
 * that cameras and encoders use.
 *
 * @param {{mimeType: string, sdpFmtpLine?: string}} codec
 */
export function isOffered({ mimeType, sdpFmtpLine = '' }) {
  switch (mimeType.toLowerCase()) {
    case 'audio/opus':
    case 'video/vp8':
    case 'video/rtx':
      return true;
    case 'video/vp9':
      return !/profile-id=[1-9]/.test(sdpFmtpLine);
    case 'video/av1':
      return !/profile=[1-9]/.test(sdpFmtpLine);
    case 'video/h264':
      // Constrained baseline, main and high: of the others nobody makes use.
      return (
        /packetization-mode=1/.test(sdpFmtpLine) && /profile-level-id=(42e0|4d00|6400|640c)/.test(sdpFmtpLine)
      );
    case 'video/h265':
      return !/profile-id=[2-9]/.test(sdpFmtpLine);
    default:
      return false;
  }
}

/**
 * Whether its frames can be encrypted and still be cut into packets. H.264, H.265 and AV1 are cut
 * where their own structure says, which ciphertext does not have; VP8 is cut anywhere.
 *
 * @param {{mimeType: string, sdpFmtpLine?: string}} codec
 */
const isSealable = ({ mimeType }) => /^(audio\/opus|video\/(vp8|rtx))$/i.test(mimeType);

/**
 * Leaves out all other codecs. Firefox before 128 cannot, and has fewer to begin with.
 *
 * @param {RTCRtpTransceiver} transceiver
 * @param {'audio' | 'video'} kind
 * @param {boolean} [isSealed] whether frames are encrypted end to end
 */
export function offerCommonCodecs(transceiver, kind, isSealed = false) {
  const wanted = isSealed ? isSealable : isOffered;
  const codecs = RTCRtpReceiver.getCapabilities(kind)?.codecs.filter(wanted) ?? [];
  if (codecs.length > 0) transceiver.setCodecPreferences?.(codecs);
}

/**
 * Asks for dependency descriptors, without which nobody can put together AV1 of several layers of which
 * some are left out. Chromium reads them, and does not offer to by itself.
 *
 * @param {RTCRtpTransceiver} transceiver
 */
export function readDescriptors(transceiver) {
  const able = /** @type {NegotiatingTransceiver} */ (transceiver);
  const extensions = able.getHeaderExtensionsToNegotiate?.() ?? [];
  for (const extension of extensions) {
    if (extension.uri.endsWith('#dependency-descriptor-rtp-header-extension'))
      extension.direction = 'sendrecv';
  }
  able.setHeaderExtensionsToNegotiate?.(extensions);
}

/**
 * @typedef {{uri: string, direction: RTCRtpTransceiverDirection}} HeaderExtension
 * @typedef {RTCRtpTransceiver & {
 *   getHeaderExtensionsToNegotiate?: () => HeaderExtension[],
 *   setHeaderExtensionsToNegotiate?: (extensions: HeaderExtension[]) => void,
 * }} NegotiatingTransceiver
 */

/** Video codecs that one can choose to send, as they are called. */
const CHOICES = ['VP8', 'VP9', 'H264', 'AV1'];

/** @param {string} name @returns {(codec: {mimeType: string}) => boolean} */
const isCalled =
  name =>
  ({ mimeType }) =>
    mimeType.toLowerCase() === `video/${name.toLowerCase()}`;

/** Those of them that this browser can send. */
export function sendableCodecs() {
  const codecs = globalThis.RTCRtpSender?.getCapabilities('video')?.codecs.filter(isOffered) ?? [];
  return CHOICES.filter(name => codecs.some(isCalled(name)));
}

/**
 * Sends a codec from the next frame on, without an offer: what was answered may be sent. Browsers
 * that cannot (Firefox) go on with the one that they agreed on.
 *
 * @param {RTCRtpSender} sender
 * @param {string} name as `VP9`; empty for the browser's choice
 */
export async function sendCodec(sender, name) {
  const parameters = sender.getParameters();
  // VP8 is what browsers choose. Told of none, Chromium stays with the codec that it sends.
  const codec = parameters.codecs?.find(isCalled(name || 'VP8'));
  if (!parameters.encodings?.length || !codec) return;
  for (const encoding of /** @type {CodecEncoding[]} */ (parameters.encodings)) {
    encoding.codec = codec;
    // Without a mode, Chromium makes one stream with spatial layers of VP9's and AV1's encodings,
    // and the smaller ones never come by themselves.
    if (name === 'VP9' || name === 'AV1') encoding.scalabilityMode = 'L1T1';
    else delete encoding.scalabilityMode;
  }
  await sender.setParameters(parameters);
}

/** @typedef {RTCRtpEncodingParameters & {codec?: object, scalabilityMode?: string}} CodecEncoding */
