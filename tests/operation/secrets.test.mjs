// Nothing that opens anything, or says where people are, gets into the log: not as it is by default, and not
// with everything that the server and its libraries say for debugging.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { post, publisherOffer } from '../browser/lib/offer.mjs';
import { freeTcpPort } from '../browser/lib/ports.mjs';
import { Server } from '../browser/lib/server.mjs';
import { bindingRequest } from '../browser/lib/stun.mjs';

const built = name => fileURLToPath(new URL(`../../target/debug/${name}`, import.meta.url));
const SERVER = process.env.PLENUM_SERVER ?? built('plenum');
const LOADTEST = process.env.PLENUM_LOADTEST ?? built('loadtest');

const secret = () => randomBytes(24).toString('hex');

function token(key) {
  const grants = ['--publish', '--subscribe', '--data', '--admin'];
  const made = spawnSync(SERVER, ['token', '--room', '*', '--identity', 'load', ...grants], {
    encoding: 'utf8',
    env: { PLENUM_KEY: key },
  });
  assert.equal(made.status, 0, made.stderr);
  return made.stdout.trim();
}

/** Each session has a line when it begins and one when it ends, and the two belong together. */
function assertTwoLines(lines) {
  const of = what => lines.filter(line => line.includes(` session ${what} `));
  const named = line => /\bsession=(\S+) room=(\S+)/.exec(line)?.slice(1).join(' ');
  const [opened, ended] = [of('opened'), of('ended')];
  // One of an encoder, one by hand, and three people.
  assert.equal(opened.length, 5, lines.join('\n'));
  assert.deepEqual(opened.map(named).sort(), ended.map(named).sort());
  for (const line of opened) assert.match(line, / INFO .* participant=\S+ door="(publish|watch|meet)"/);
  for (const line of ended) assert.match(line, / INFO .* reason="[a-z_]+".* lasted_ms=\d+/);
}

for (const level of ['info', 'debug']) {
  test(`nothing secret is logged at ${level}`, { timeout: 60_000 }, async context => {
    const folder = await mkdtemp(join(tmpdir(), 'plenum-secrets-'));
    const hooks = createServer((_, response) => response.end()).listen(0, '127.0.0.1');
    await once(hooks, 'listening');
    const [key, turn, fixed, hook] = [secret(), secret(), secret(), randomBytes(24).toString('base64')];
    const tokens = join(folder, 'tokens.json');
    const entry = { token: fixed, room: 'camera', identity: 'camera', grants: { publish: true } };
    await writeFile(tokens, JSON.stringify({ tokens: [entry] }));
    // From the environment, as an operator would have them; the log says which settings there are.
    const secrets = [
      `PLENUM_KEY=${key}`,
      `PLENUM_TURN_SECRET=${turn}`,
      `PLENUM_WEBHOOK_SECRET=whsec_${hook}`,
    ];
    const server = await Server.start(
      [
        ...[`--log=${level}`, '--end-on-expiry', `--static-tokens=${tokens}`],
        `--turn-listen=127.0.0.1:${await freeTcpPort()}`,
        '--turn=turn:127.0.0.1:9?transport=tcp',
        ...[`--webhook=http://127.0.0.1:${hooks.address().port}/`, '--webhook-private'],
      ],
      ['env', ...secrets],
    );
    const never = new Map([
      ['the key', key],
      ['the secret of relays', turn],
      ['the secret of webhooks', hook],
      ['a fixed token', fixed],
    ]);
    try {
      const bearer = token(key);
      never.set('a token', bearer).set("a token's signature", bearer.split('.')[2]);
      const cookie = secret();
      never.set('a cookie', cookie);
      const headers = { authorization: `Bearer ${bearer}`, cookie: `session=${cookie}` };
      const bad = `${bearer.slice(0, -6)}AAAAAA`;
      never.set('a token that was refused', bad);
      await post(`${server.url}/whip/demo/load`, publisherOffer(), { authorization: `Bearer ${bad}` });
      await post(`${server.url}/whip/camera/camera`, publisherOffer(), { authorization: `Bearer ${fixed}` });

      const opened = await post(`${server.url}/whip/demo/load`, publisherOffer(), headers);
      assert.equal(opened.status, 201, await opened.clone().text());
      const answer = await opened.text();
      const value = (sdp, name) => new RegExp(`^a=${name}:(.*?)\r?$`, 'm').exec(sdp)[1];
      never.set('an ICE password of ours', value(answer, 'ice-pwd'));
      never.set("a client's ICE password", value(publisherOffer(), 'ice-pwd'));
      for (const [, credential] of opened.headers.get('link').matchAll(/credential="([^"]+)"/g))
        never.set(`a password for a relay: ${credential.slice(0, 3)}`, credential);
      assert.ok(never.size >= 10, 'both relays have one');
      const location = new URL(opened.headers.get('location'), server.url);
      never.set('the name of a session', location.pathname.split('/').at(-1));

      // A check that holds, one that does not, a restart, a message, an event stream, and its end.
      const { createSocket } = await import('node:dgram');
      const socket = createSocket('udp4');
      const ufrag = value(answer, 'ice-ufrag');
      for (const password of [value(answer, 'ice-pwd'), 'not-the-password-at-all']) {
        socket.send(bindingRequest(`${ufrag}:4ZcD`, password), server.ports.udp, '127.0.0.1');
      }
      const [restarted] = [secret()];
      never.set('an ICE password of a restart', restarted);
      await fetch(location, {
        method: 'PATCH',
        headers: { ...headers, 'content-type': 'application/trickle-ice-sdpfrag', 'if-match': '*' },
        body: `a=ice-ufrag:anew\r\na=ice-pwd:${restarted}\r\n`,
      });
      const stream = await fetch(`${location}/events`, { headers });
      await stream.body?.cancel();
      const call = spawn(
        LOADTEST,
        [
          'conference',
          '--url',
          server.url,
          '--token',
          bearer,
          '--people',
          '3',
          '--rooms',
          '1',
          '--seconds',
          '2',
        ],
        { stdio: 'ignore' },
      );
      await once(call, 'exit');
      await fetch(location, { method: 'DELETE', headers });
      socket.close();
      await sleep(500);
    } finally {
      await server.stop('SIGINT');
      hooks.close();
      await rm(folder, { recursive: true });
    }
    const lines = server.log.split('\n');
    context.diagnostic(`${lines.length} lines, ${never.size} secrets`);
    assert.ok(lines.length > (level === 'info' ? 5 : 50), server.log);
    if (level === 'info') assertTwoLines(lines);
    for (const [what, text] of never) {
      const line = lines.find(line => line.includes(text));
      assert.equal(line, undefined, `${what} is in the log`);
    }
    const heads = lines.filter(line => /authorization|bearer |cookie:/i.test(line));
    assert.deepEqual(heads, [], 'heads of requests are in the log');
  });
}
