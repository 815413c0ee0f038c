// The few places where a session description is touched as text.

/**
 * Marks m-lines as screens (`a=content:slides`, RFC 4796), in the text that goes to the server.
 *
 * @param {string} sdp
 * @param {Set<string>} mids
 */
export function markSlides(sdp, mids) {
  if (mids.size === 0) return sdp;
  return sdp
    .split(/(?=^m=)/m)
    .map(section => {
      const mid = /^a=mid:(.*?)\r?$/m.exec(section)?.[1];
      return mid !== undefined && mids.has(mid) ? `${section}a=content:slides\r\n` : section;
    })
    .join('');
}

/**
 * What a slot has no use for: feedback of before transport-wide congestion control, names of
 * layers (what we receive is one), and extensions that only measure the sender.
 */
const USELESS_IN_SLOTS =
  /^a=(?:rtcp-fb:\d+ goog-remb|extmap:\d+ \S*(?:toffset|video-timing|color-space|video-content-type|rtp-stream-id))\r\n/gm;

/**
 * Makes the text that goes to the server shorter, where it says the same for every slot. An answer
 * need not take up what was offered, so the browser does not miss it there.
 *
 * @param {string} sdp
 */
export function slimSlots(sdp) {
  return sdp
    .split(/(?=^m=)/m)
    .map(section => (/^a=recvonly\r$/m.test(section) ? section.replace(USELESS_IN_SLOTS, '') : section))
    .join('');
}

/**
 * The ICE part of a local description, as the body of a restart (RFC 8840 §9).
 *
 * @param {string} sdp
 */
export function iceFragment(sdp) {
  /** @param {RegExp} line */
  const first = line => line.exec(sdp)?.[0].trim();
  const lines = [
    first(/^a=ice-ufrag:.*$/m),
    first(/^a=ice-pwd:.*$/m),
    first(/^m=.*$/m),
    first(/^a=mid:.*$/m),
  ];
  return `${lines.filter(Boolean).join('\r\n')}\r\n`;
}

/**
 * The description with the ICE credentials and candidates of a restart's answer. That names UDP alone;
 * the server's TCP candidates stay what they were.
 *
 * @param {string} sdp
 * @param {string} fragment
 */
export function withIce(sdp, fragment) {
  const ufrag = /^a=ice-ufrag:(.*?)\r?$/m.exec(fragment)?.[1];
  const password = /^a=ice-pwd:(.*?)\r?$/m.exec(fragment)?.[1];
  if (!ufrag || !password) return sdp;
  const candidates = [...fragment.matchAll(/^a=candidate:.*?(?=\r?$)/gm)].map(([line]) => line);
  const replaced = sdp
    .replace(/^a=ice-ufrag:.*?(?=\r?$)/gm, `a=ice-ufrag:${ufrag}`)
    .replace(/^a=ice-pwd:.*?(?=\r?$)/gm, `a=ice-pwd:${password}`);
  if (candidates.length === 0) return replaced;
  const passive = sdp.matchAll(/^a=candidate:.* tcptype passive.*?(?=\r?$)/gm);
  for (const [line] of passive) {
    const kept = line.replace(/ ufrag \S+/, ` ufrag ${ufrag}`);
    if (!candidates.includes(kept)) candidates.push(kept);
  }
  const bare = replaced.replace(/^a=candidate:.*\r?\n/gm, '');
  // With BUNDLE all candidates belong to the first m-line.
  return bare.replace(/^a=ice-pwd:.*\r?\n/m, line => `${line}${candidates.join('\r\n')}\r\n`);
}
