// What to enter into other programs, so that they send here.

/**
 * @typedef {object} Target
 * @property {string} whip the address that they post to
 * @property {string} [token]
 */

/**
 * For FFmpeg 8 and later. Without feedback for keyframes, late viewers wait for the next of them:
 * 60 frames apart is two seconds.
 *
 * @param {Target} target
 */
export function ffmpegCommand({ whip, token }) {
  return [
    'ffmpeg -re -i input.mp4',
    '-c:v libx264 -profile:v baseline -preset veryfast -tune zerolatency',
    '-pix_fmt yuv420p -g 60 -bf 0 -b:v 2500k',
    '-c:a libopus -ar 48000 -ac 2 -b:a 96k',
    ...(token ? [`-authorization ${quoted(token)}`] : []),
    `-f whip ${quoted(whip)}`,
  ].join(' \\\n  ');
}

/**
 * With the Rust plugins' `whipclientsink`, which encodes by itself.
 *
 * @param {Target} target
 */
export function gstreamerCommand({ whip, token }) {
  return [
    'gst-launch-1.0',
    `whipclientsink name=out signaller::whip-endpoint=${quoted(whip)}`,
    ...(token ? [`signaller::auth-token=${quoted(token)}`] : []),
    'v4l2src ! videoconvert ! queue ! out.',
    'autoaudiosrc ! audioconvert ! queue ! out.',
  ].join(' \\\n  ');
}

/**
 * A player in another page.
 *
 * @param {string} watch address of the player
 */
export function embedCode(watch) {
  const allow = 'autoplay; fullscreen; picture-in-picture';
  return `<iframe src="${watch}?muted" width="640" height="360" allow="${allow}" title="Plenum"></iframe>`;
}

/**
 * As one word of a shell.
 *
 * @param {string} word
 */
const quoted = word => `'${word.replaceAll("'", "'\\''")}'`;
