// What we send, and at which rates.

/**
 * Three layers of a camera: a 720p camera gives 180p, 360p and 720p. The rates are where VP8
 * stops looking better at 30 fps; together they fit an uplink of 2.5 Mbit/s, and on a slower one
 * the browser leaves the upper ones out.
 *
 * @type {RTCRtpEncodingParameters[]}
 */
export const CAMERA_ENCODINGS = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];

/**
 * One layer of a screen. Text has to stay readable for all, so there is no small layer, and
 * fewer frames are given up before sharpness is (see `contentHint`).
 *
 * @type {RTCRtpEncodingParameters[]}
 */
export const SCREEN_ENCODINGS = [{ maxBitrate: 2_500_000, maxFramerate: 15 }];
