// Firefox and GStreamer behind firewalls: which ways they find, as far as they know any.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { until } from '../browser/lib/until.mjs';
import { Server } from './lib/machines.mjs';
import { CLIENT, Network, SERVER } from './lib/network.mjs';

/** Until there is a picture, whichever way it has to take. */
const FIRST_PICTURE_MS = 10_000;
const HTTPS_ALONE = ['meta l4proto != tcp', 'tcp dport != 443'];

/** A server with these options, and its network. */
function surroundings(options) {
  const around = {};
  before(async () => {
    around.network = await Network.start();
    around.server = await Server.start(around.network, options);
  });
  afterEach(() => around.network.block());
  after(async () => {
    const code = await around.server?.stop();
    await around.network?.stop();
    assert.equal(code, 0, around.server?.log);
  });
  return around;
}

for (const [how, options, ways] of [
  [
    'direct',
    [],
    [
      ['with everything open', [], /^(host|prflx) udp 3478$/],
      ['without UDP', ['meta l4proto udp'], /^(host|prflx) tcp (3478|443)$/],
      ['with nothing but HTTPS', HTTPS_ALONE, /^(host|prflx) tcp 443$/],
    ],
  ],
  [
    'relay',
    ['--tcp=off', `--turn-listen=${SERVER}:3479`],
    [['without UDP', ['meta l4proto udp'], /^relay /]],
  ],
]) {
  describe(`Firefox behind a firewall, its way: ${how}`, { timeout: 180_000 }, () => {
    const around = surroundings(options);
    const program = fileURLToPath(new URL('lib/firefox-way.mjs', import.meta.url));

    for (const [name, rules, expected] of ways) {
      test(`${name} there is a picture`, async () => {
        const { network } = around;
        await network.block(...rules);
        const [command, ...args] = network.on('client', [
          process.execPath,
          program,
          `https://${SERVER}/`,
          how,
        ]);
        const { stdout } = await promisify(execFile)(command, args);
        const { kind, protocol, port } = JSON.parse(stdout);
        assert.match(`${kind} ${protocol} ${port}`, expected);
      });
    }
  });
}

describe('GStreamer behind a firewall', { timeout: 120_000 }, () => {
  const around = surroundings([]);
  const children = [];
  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    }
  });

  function start(role) {
    const program = fileURLToPath(new URL('../interop/clients/webrtcbin.py', import.meta.url));
    const url = `https://${SERVER}/${role === 'publish' ? 'whip' : 'whep'}/gst/camera`;
    const command = around.network.on('client', ['/usr/bin/python3', program, role, url, 'VP8']);
    const env = {
      ...process.env,
      SSL_CERT_FILE: join(around.server.folder, 'cert.pem'),
      LOCAL_ADDRESS: CLIENT,
    };
    // Not the test's own standard error: whoever runs it would wait for the last one who has that.
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], env });
    children.push(child);
    child.seen = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        child.seen += text;
      });
    }
    return child;
  }

  for (const [name, rules] of [
    ['with everything open', []],
    ['without UDP', ['meta l4proto udp']],
    ['with nothing but HTTPS', HTTPS_ALONE],
  ]) {
    test(`${name} a publisher and a player meet`, async () => {
      await around.network.block(...rules);
      const publisher = start('publish');
      const publishes = () => publisher.seen.includes('"connected"');
      await until('it publishes', publishes, FIRST_PICTURE_MS).catch(error =>
        assert.fail(`${error.message}\n${publisher.seen}`),
      );
      const player = start('play');
      const frames = () =>
        Math.max(0, ...[...player.seen.matchAll(/"frames": (\d+)/g)].map(([, n]) => Number(n)));
      await until('there is a picture', () => frames() > 10, FIRST_PICTURE_MS).catch(error =>
        assert.fail(`${error.message}\n${player.seen}`),
      );
    });
  }
});
