// What is shipped beside the program works as it stands: the proxies' examples serve a page, a
// session and its events over HTTPS, and the other files are what their programs take.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { publisherOffer } from '../browser/lib/offer.mjs';
import { freeTcpPort } from '../browser/lib/ports.mjs';
import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const deployed = name => fileURLToPath(new URL(`../../deploy/${name}`, import.meta.url));
const SERVER =
  process.env.PLENUM_SERVER ?? fileURLToPath(new URL('../../target/debug/plenum', import.meta.url));

let folder, certificate, key;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plenum-packaging-'));
  // nginx's workers are somebody else.
  await chmod(folder, 0o755);
  [key, certificate] = [join(folder, 'privkey.pem'), join(folder, 'fullchain.pem')];
  run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-days', '2', '-subj', '/CN=sfu.example', '-addext', 'subjectAltName=DNS:sfu.example'],
    ...['-keyout', key, '-out', certificate],
  ]);
});
after(() => folder && rm(folder, { recursive: true }));

/** Runs a program to its end; throws where it is not content. */
function run(command, args, options = {}) {
  const done = spawnSync(command, args, { encoding: 'utf8', ...options });
  if (done.error) throw done.error;
  assert.equal(done.status, 0, `${command} ${args.join(' ')}:\n${done.stdout}${done.stderr}`);
  return done.stdout + done.stderr;
}

/** An example with this machine's names and ports in the place of those that it has. */
async function adapted(name, replacements) {
  let text = await readFile(deployed(name), 'utf8');
  for (const [from, to] of replacements) {
    assert.ok(text.includes(from), `${name} has no ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

const PROXIES = {
  async nginx(port, upstream) {
    const server = await adapted('nginx.conf', [
      ['listen 443 ssl;', `listen 127.0.0.1:${port} ssl;`],
      ['listen [::]:443 ssl;', ''],
      ['/etc/letsencrypt/live/sfu.example/fullchain.pem', certificate],
      ['/etc/letsencrypt/live/sfu.example/privkey.pem', key],
      ['127.0.0.1:8080', `127.0.0.1:${upstream}`],
    ]);
    const config = join(folder, 'nginx.conf');
    const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    await writeFile(
      config,
      [
        `daemon off; pid ${folder}/nginx.pid; error_log stderr;`,
        'events {}',
        'http {',
        'access_log off;',
        ...paths.map(path => `${path}_temp_path ${folder}/${path};`),
        server,
        '}',
      ].join('\n'),
    );
    run('nginx', ['-t', '-c', config]);
    return ['nginx', ['-c', config]];
  },
  async caddy(port, upstream) {
    const site = await adapted('Caddyfile', [
      ['sfu.example {', `https://sfu.example:${port} {\n\ttls ${certificate} ${key}`],
      ['127.0.0.1:8080', `127.0.0.1:${upstream}`],
    ]);
    const config = join(folder, 'Caddyfile');
    await writeFile(config, `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${site}`);
    run('caddy', ['validate', '--adapter', 'caddyfile', '--config', config], { env: home() });
    return ['caddy', ['run', '--adapter', 'caddyfile', '--config', config]];
  },
};

const home = () => ({ ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder });

/** One request as a client of sfu.example sends it; the answer's body is left to be read. */
async function ask(port, path, { method = 'GET', headers = {}, body } = {}) {
  const asked = request({
    ...{ host: '127.0.0.1', port, servername: 'sfu.example', path, method, rejectUnauthorized: false },
    headers: { host: 'sfu.example', ...headers },
  });
  asked.end(body);
  const [response] = await once(asked, 'response');
  return response.setEncoding('utf8');
}

for (const [name, prepare] of Object.entries(PROXIES)) {
  describe(`behind ${name}`, { timeout: 60_000 }, () => {
    let server, proxy, port;

    before(async () => {
      const options = ['--public-url=https://sfu.example', '--trusted-proxies=127.0.0.1'];
      server = await Server.start([...options, '--sessions-per-address=2']);
      port = await freeTcpPort();
      const [command, args] = await prepare(port, server.ports.http);
      proxy = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env: home() });
      await until(`${name} answers`, async () => (await ask(port, '/')).resume().statusCode === 200);
    });
    after(async () => {
      const ended = proxy && once(proxy, 'exit');
      // Not SIGKILL: nginx would leave its workers behind.
      proxy?.kill('SIGTERM');
      await ended;
      await server?.stop();
    });

    test('a session is opened, and its events come as they happen', async () => {
      const joined = await ask(port, '/rooms/demo/sessions', {
        method: 'POST',
        headers: { 'content-type': 'application/sdp' },
        body: publisherOffer(),
      });
      joined.resume();
      assert.equal(joined.statusCode, 201);
      const location = new URL(joined.headers.location);
      assert.equal(location.origin, 'https://sfu.example');
      const events = await ask(port, `${location.pathname}/events`);
      const [first] = await once(events, 'data', { signal: AbortSignal.timeout(2_000) });
      assert.match(first, /^event: snapshot$/m);
      events.destroy();
    });

    test('an offer may be as large as the server takes, and no larger', async () => {
      const offer = bytes => ({
        method: 'POST',
        headers: { 'content-type': 'application/sdp' },
        body: `v=0\r\n${'a=x\r\n'.repeat(bytes / 5)}`,
      });
      const taken = await ask(port, '/rooms/demo/sessions', offer(250_000));
      assert.equal(taken.resume().statusCode, 400, 'read, and found to be no offer');
      const refused = await ask(port, '/rooms/demo/sessions', offer(300_000));
      // Caddy 2.6 makes a failure of an answer that comes before the whole body has gone out.
      assert.ok([413, 502].includes(refused.resume().statusCode), String(refused.statusCode));
    });

    test('nobody passes for somebody else by what they write into a header', async () => {
      // All come from loopback, which has no limit; 198.51.100.1 would have one of two sessions.
      const statuses = [];
      for (let n = 0; n < 4; n += 1) {
        const answer = await ask(port, '/whip/demo', {
          method: 'POST',
          headers: { 'content-type': 'application/sdp', 'x-forwarded-for': '198.51.100.1' },
          body: publisherOffer(),
        });
        statuses.push(answer.resume().statusCode);
      }
      assert.deepEqual(statuses, [201, 201, 201, 201]);
    });
  });
}

test('systemd takes the unit, and finds little that the server could harm', async () => {
  const binary = join(folder, 'plenum');
  await copyFile(SERVER, binary);
  await chmod(binary, 0o755);
  const unit = join(folder, 'plenum.service');
  await writeFile(unit, await adapted('plenum.service', [['/usr/local/bin/plenum', binary]]));
  assert.equal(run('systemd-analyze', ['verify', '--man=no', unit]), '');
  // Of ten; what is left is that it listens on the network, below port 1024 if it has to.
  run('systemd-analyze', ['security', '--no-pager', '--offline=true', '--threshold=20', unit]);
});

test('the compose file is one, and Prometheus takes its settings', async () => {
  const python = process.env.PLENUM_PYTHON_TOOLS ?? '';
  const check = join(python, 'check-jsonschema');
  run(check, ['--builtin-schema', 'vendor.compose-spec', deployed('compose.yml')]);
  const rules = fileURLToPath(new URL('../../docs/grafana/alerts.yml', import.meta.url));
  await copyFile(rules, join(folder, 'alerts.yml'));
  await copyFile(deployed('prometheus.yml'), join(folder, 'prometheus.yml'));
  run('promtool', ['check', 'config', join(folder, 'prometheus.yml')]);
  // Each file that is mounted is there.
  const compose = await readFile(deployed('compose.yml'), 'utf8');
  const mounts = [...compose.matchAll(/^ +- (\.\.?\/\S+?):/gm)].map(([, path]) => path);
  assert.ok(mounts.length >= 5);
  for (const path of mounts) await readFile(deployed(path));
});
