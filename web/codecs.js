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
