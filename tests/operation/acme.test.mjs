// The server gets a certificate by itself from a real authority, serves it, renews it, and keeps it.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';

import { freeTcpPort, freeUdpPort } from '../browser/lib/ports.mjs';
import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';
import { BLOCKED, Pebble } from './pebble.mjs';

const NAME = 'sfu.plenum.test';

/** So short that it is renewed while the test waits: after two thirds. */
const LIFE_SECONDS = 15;

let pebble, cache, ports;

before(async () => {
  ports = { http: await freeTcpPort(), operator: await freeTcpPort(), udp: await freeUdpPort() };
  pebble = await Pebble.start({ tlsPort: ports.http, seconds: LIFE_SECONDS });
  cache = await mkdtemp(join(tmpdir(), 'plenum-acme-'));
  // What the server takes for the roots of its system.
  process.env.SSL_CERT_FILE = pebble.trusted;
});
after(async () => {
  await pebble?.remove();
  if (cache) await rm(cache, { recursive: true });
});

async function serve(context, name) {
  const settings = [`--acme-domain=${name}`, `--acme-cache=${cache}`, '--acme-contact=ops@plenum.test'];
  const server = new Server(ports, [...settings, `--acme-directory=${pebble.directory}`]);
  await server.run();
  context.after(() => server.stop());
  return server;
}

/** Connects as a browser would that trusts the authority; the certificate's number, and what was answered. */
async function visit() {
  const ca = await pebble.root();
  return await new Promise((resolve, reject) => {
    const to = { host: '127.0.0.1', port: ports.http, servername: NAME, ca, ALPNProtocols: ['http/1.1'] };
    const socket = connect(to, () => {
      const { serialNumber } = socket.getPeerCertificate();
      socket.write(`GET / HTTP/1.1\r\nHost: ${NAME}\r\nConnection: close\r\n\r\n`);
      socket.once('data', data => {
        socket.destroy();
        resolve({ serial: serialNumber, status: String(data).split(' ')[1] });
      });
    });
    socket.once('error', reject);
  });
}

test('a certificate is issued, served, renewed before it ends, and still there after a restart', async context => {
  const server = await serve(context, NAME);
  const first = await until('there is HTTPS', visit, 20_000).catch(error => {
    throw new Error(error.message + server.lastWords + pebble.lastWords);
  });
  assert.equal(first.status, '200');
  await until('its end is exported', async () => {
    const end = (await server.metrics()).sum(/^plenum_tls_certificate_end_timestamp_seconds$/);
    const left = end - Date.now() / 1000;
    return left > 0 && left < LIFE_SECONDS;
  });

  const renewed = async () => {
    // There is a good certificate at every moment.
    const seen = await visit();
    return seen.serial !== first.serial && seen;
  };
  const next = await until('it is renewed', renewed, 2 * LIFE_SECONDS * 1000);
  assert.equal(next.status, '200');
  assert.deepEqual((await readdir(cache)).map(name => name.split('-')[0]).sort(), ['account', 'certificate']);
  for (const name of await readdir(cache)) {
    assert.equal((await stat(join(cache, name))).mode & 0o077, 0, `${name} is for its owner alone`);
  }

  assert.equal((await server.stop()).code, 0, server.lastWords);
  const again = await serve(context, NAME);
  const { serial } = await visit();
  assert.ok(serial === next.serial || again.log.includes('a new certificate'), 'it was kept');
});

test('what the authority refuses is in the log, with its reason, and the server runs on', async context => {
  const server = await serve(context, BLOCKED);
  await until('the refusal is logged', () => /no new certificate/.test(server.log));
  assert.match(server.log, /no new certificate.*(blocked|policy|rejected)/i);
  assert.ok(server.isRunning);
});
