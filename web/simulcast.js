// What we send, and at which rates.

/** @typedef {{rid: string | null, wanted: boolean}} WantedLayer */

/**
 * Three layers of a camera: a 720p camera gives 180p, 360p and 720p. The rates are where VP8
 * stops looking better at 30 fps; together they fit an uplink of 2.5 Mbit/s, and on a slower one
 * the browser leaves the upper ones out.
 *
 * @type {RTCRtpEncodingParameters[]}
 */
const LAYERS = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];

/**
 * From so many pixels on browsers send three layers, or two. Of more than it wants to send,
 * Chromium leaves out the last ones, which are the largest: a camera of 480p would be seen at
 * half its size.
 */
const MIN_PIXELS_OF = { three: 960 * 540, two: 480 * 270 };

/**
 * The layers of a camera, by its size.
 *
 * @param {MediaStreamTrack | null} track null for one that is not known yet: taken to be 720p
 * @returns {RTCRtpEncodingParameters[]}
 */
export function cameraEncodings(track) {
  const { width = 1280, height = 720 } = track?.getSettings() ?? {};
  const pixels = width * height;
  if (pixels >= MIN_PIXELS_OF.three) return LAYERS;
  return pixels >= MIN_PIXELS_OF.two ? LAYERS.slice(1) : LAYERS.slice(2);
}

/**
 * Which encodings are to be sent: no more than `most`, and none that nobody wants. Of several the
 * smallest stays all the same, so that whoever looks next sees something at once.
 *
 * @param {{rid?: string}[]} encodings the smallest first
 * @param {number} most
 * @param {WantedLayer[]} wanted what the server said of them; of others, nothing is known
 * @returns {boolean[]}
 */
export function activeEncodings(encodings, most, wanted) {
  return encodings.map(({ rid }, index) => {
    const layer = wanted.find(layer => layer.rid === (rid ?? null));
    const isSpare = index === 0 && encodings.length > 1;
    return index < most && (isSpare || (layer?.wanted ?? true));
  });
}

/**
 * One layer of a screen. Text has to stay readable for all, so there is no small layer, and
 * fewer frames are given up before sharpness is (see `contentHint`).
 *
 * @type {RTCRtpEncodingParameters[]}
 */
export const SCREEN_ENCODINGS = [{ maxBitrate: 2_500_000, maxFramerate: 15 }];
