// Datagrams as strangers send them: STUN, DTLS and RTP by hand, right or wrong on purpose.

import { createHmac } from 'node:crypto';
import { crc32 } from 'node:zlib';

const BINDING_REQUEST = 0x0001;
const MAGIC_COOKIE = 0x2112a442;
const HEADER_BYTES = 20;
const USERNAME = 0x0006;
const MESSAGE_INTEGRITY = 0x0008;
const PRIORITY = 0x0024;
const ICE_CONTROLLING = 0x802a;
const FINGERPRINT = 0x8028;
/** What tells a fingerprint from another protocol's checksum (RFC 8489 §14.7). */
const FINGERPRINT_XOR = 0x5354554e;

/**
 * A connectivity check (RFC 8445 §7.2.2): a binding request by a controlling agent, with
 * MESSAGE-INTEGRITY and FINGERPRINT.
 *
 * @param {string} username `{ufrag of the receiver}:{ufrag of the sender}`
 * @param {string} password
 */
export function bindingRequest(username, password) {
  const attributes = [
    attribute(USERNAME, Buffer.from(username)),
    attribute(PRIORITY, Buffer.from([0x6e, 0x7f, 0xff, 0xff])),
    attribute(ICE_CONTROLLING, Buffer.alloc(8, 5)),
  ];
  // Each of the two covers a header that already counts it (RFC 8489 §14.5, §14.7).
  const hmac = createHmac('sha1', password).update(message(attributes, 24)).digest();
  attributes.push(attribute(MESSAGE_INTEGRITY, hmac));
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE((crc32(message(attributes, 8)) ^ FINGERPRINT_XOR) >>> 0);
  attributes.push(attribute(FINGERPRINT, checksum));
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
