// An offer as a browser writes it, for requests that need no browser: nobody answers ICE behind it.

const SESSION = ['v=0', 'o=- 4611731400430051336 2 IN IP4 127.0.0.1', 's=-', 't=0 0'];
const TRANSPORT = [
  'c=IN IP4 0.0.0.0',
  'a=rtcp:9 IN IP4 0.0.0.0',
  'a=ice-ufrag:4ZcD',
  'a=ice-pwd:2/1muCWoOi3uLifh0NuRHlig',
  'a=ice-options:trickle',
  'a=fingerprint:sha-256 ' +
    '7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08',
  'a=setup:actpass',
  'a=rtcp-mux',
  'a=rtcp-rsize',
];
const CODECS = {
  audio: [
    'm=audio 9 UDP/TLS/RTP/SAVPF 111',
    'a=rtpmap:111 opus/48000/2',
    'a=fmtp:111 minptime=10;useinbandfec=1',
  ],
  video: [
    'm=video 9 UDP/TLS/RTP/SAVPF 96 97',
    'a=rtpmap:96 VP8/90000',
    'a=rtcp-fb:96 nack',
    'a=rtcp-fb:96 nack pli',
    'a=rtcp-fb:96 transport-cc',
    'a=rtpmap:97 rtx/90000',
    'a=fmtp:97 apt=96',
  ],
};

/** @param {{kind: 'audio' | 'video', direction: 'sendonly' | 'recvonly'}[]} lines */
export function offer(lines) {
  const mids = lines.map((_, mid) => mid).join(' ');
  const sections = lines.flatMap(({ kind, direction }, mid) => {
    const [first, ...codecs] = CODECS[kind];
    const sending =
      direction === 'sendonly' ? [`a=msid:stream ${kind}`, `a=ssrc:${1000 + mid} cname:test`] : [];
    return [first, ...TRANSPORT, `a=mid:${mid}`, `a=${direction}`, ...sending, ...codecs];
  });
  return [...SESSION, `a=group:BUNDLE ${mids}`, ...sections, ''].join('\r\n');
}

export const publisherOffer = () =>
  offer([
    { kind: 'audio', direction: 'sendonly' },
    { kind: 'video', direction: 'sendonly' },
  ]);

export const viewerOffer = () =>
  offer([
    { kind: 'video', direction: 'recvonly' },
    { kind: 'audio', direction: 'recvonly' },
  ]);

/** Posts an offer to a door. */
export function post(url, sdp, headers = {}) {
  return fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp', ...headers },
    body: sdp,
  });
}
