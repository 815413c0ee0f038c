// Datagrams as strangers send them: STUN, DTLS and RTP by hand, right or wrong on purpose.

import { createHmac } from 'node:crypto';

const BINDING_REQUEST = 0x0001;
const MAGIC_COOKIE = 0x2112a442;
const HEADER_BYTES = 20;
const USERNAME = 0x0006;
const MESSAGE_INTEGRITY = 0x0008;

/**
 * A binding request (RFC 8489 §5) with USERNAME and, if there is a password, MESSAGE-INTEGRITY.
 *
 * @param {string} username `{remote ufrag}:{local ufrag}`
 * @param {string} [password]
 */
export function bindingRequest(username, password) {
  const attributes = [attribute(USERNAME, Buffer.from(username))];
  if (password) {
    // The integrity covers a header that already counts it (RFC 8489 §14.5).
    const covered = message(attributes, 24);
    const hmac = createHmac('sha1', password).update(covered).digest();
    attributes.push(attribute(MESSAGE_INTEGRITY, hmac));
  }
  return message(attributes);
}

function message(attributes, moreBytes = 0) {
  const body = Buffer.concat(attributes);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(BINDING_REQUEST, 0);
  header.writeUInt16BE(body.length + moreBytes, 2);
  header.writeUInt32BE(MAGIC_COOKIE, 4);
  header.write('transaction!', 8, 'latin1');
  return Buffer.concat([header, body]);
}

function attribute(type, value) {
  const padded = Buffer.alloc(4 + Math.ceil(value.length / 4) * 4);
  padded.writeUInt16BE(type, 0);
  padded.writeUInt16BE(value.length, 2);
  value.copy(padded, 4);
  return padded;
}

/** A DTLS 1.2 ClientHello (RFC 6347 §4.2.2) with one cipher suite and no extensions. */
export function clientHello() {
  const body = Buffer.concat([
    Buffer.from([0xfe, 0xfd]),
    Buffer.alloc(32, 7),
    // No session, no cookie, ECDHE-ECDSA-AES128-GCM-SHA256, no compression.
    Buffer.from([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]),
  ]);
  const length = [0, 0, body.length];
  const handshake = Buffer.concat([Buffer.from([1, ...length, 0, 0, 0, 0, 0, ...length]), body]);
  const record = Buffer.from([22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, handshake.length]);
  return Buffer.concat([record, handshake]);
}

/** An RTP packet (RFC 3550 §5.1) with an empty payload. */
export function rtpPacket(ssrc = 0x12345678) {
  const packet = Buffer.alloc(32);
  packet[0] = 0x80;
  packet[1] = 96;
  packet.writeUInt32BE(ssrc, 8);
  return packet;
}

/** Bytes that look random and are the same in every run (xorshift32). */
export function randomBytes(seed, length) {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let at = 0; at < length; at += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state;
  }
  return bytes;
}
