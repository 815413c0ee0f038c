// A real Prometheus scrapes a server under load: everything exported is well formed, and what the
// dashboard and the alerts ask for is there.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';
import { Prometheus, promtool } from './prometheus.mjs';

const file = path => fileURLToPath(new URL(path, import.meta.url));
const ALERTS = file('../../docs/grafana/alerts.yml');
const LOADTEST = process.env.PLENUM_LOADTEST ?? file('../../target/debug/loadtest');

let server, encrypted, prometheus, folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plenum-certificate-'));
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  const made = spawnSync('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-days', '30', '-subj', '/CN=localhost', '-keyout', key, '-out', certificate],
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  server = await Server.start(['--shards=2']);
  // Its certificate is all that is looked at.
  encrypted = await Server.start([`--tls-cert=${certificate}`, `--tls-key=${key}`]);
  const targets = [server, encrypted].map(({ operatorUrl }) => new URL(operatorUrl).host);
  prometheus = await Prometheus.start(targets, [ALERTS]);
  await load();
});

after(async () => {
  await prometheus?.stop();
  await Promise.all([server?.stop(), encrypted?.stop()]);
  if (folder) await rm(folder, { recursive: true });
});

/** A short call with losses and refusals, so that everything has moved. */
async function load() {
  const child = spawn(
    LOADTEST,
    [
      ...['churn', '--url', server.url, '--subscribers', '4', '--churn-per-second', '2'],
      ...['--seconds', '12', '--lose-down', '2', '--max-loss', '100', '--max-video-loss', '100'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', text => {
      said += text;
    });
  }
  const [code] = await once(child, 'exit');
  assert.equal(code, 0, said);
}

test('every line that is exported is as Prometheus wants it', async () => {
  const input = await (await fetch(`${server.operatorUrl}/metrics`)).text();
  assert.match(input, /^# HELP plenum_sessions /m);
  assert.equal(promtool(['check', 'metrics'], { input }), '');
});

test('a scraper that asks for OpenMetrics gets it, and takes it', async () => {
  const headers = { accept: 'application/openmetrics-text;version=1.0.0,text/plain;q=0.5' };
  const answer = await fetch(`${server.operatorUrl}/metrics`, { headers });
  assert.match(answer.headers.get('content-type'), /^application\/openmetrics-text; version=1\.0\.0/);
  assert.match(await answer.text(), /\n# EOF\n$/);
  // This is what Prometheus asks for, too.
  await until('both are scraped', async () => {
    const { activeTargets } = await prometheus.api('targets');
    const failing = activeTargets.find(({ health }) => health !== 'up');
    if (failing) throw new Error(failing.lastError);
    return activeTargets.length === 2;
  });
});

test('whatever the dashboard shows is there after a call', async t => {
  const dashboard = JSON.parse(await readFile(file('../../docs/grafana/dashboard.json'), 'utf8'));
  const shown = dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ title, expr })),
  );
  assert.ok(shown.length > 30, 'the dashboard was read');
  for (const { title, expr } of shown) {
    await t.test(`${title}: ${expr}`, async () => {
      const expression = expr
        .replaceAll('$job', 'plenum')
        .replaceAll('$instance', '.*')
        .replaceAll('$__rate_interval', '2m');
      assert.doesNotMatch(expression, /\$/, 'a variable is not known here');
      await until('there is a number', async () => {
        const values = await prometheus.values(expression);
        if (!values.some(Number.isFinite)) throw new Error(`it gives ${JSON.stringify(values)}`);
        return true;
      });
    });
  }
});

test('what moves when people call has moved', async () => {
  for (const moved of [
    'plenum_sessions_opened_total',
    'plenum_sessions_closed_total{reason="left"}',
    'plenum_packets_total{direction="in",kind="audio"}',
    'plenum_packets_total{direction="out",kind="video"}',
    'plenum_nacked_packets_total',
    'plenum_rtx_packets_total',
    'plenum_keyframe_requests_total{direction="out"}',
    'plenum_keyframe_wait_seconds_count',
    'plenum_join_seconds_count{stage="media"}',
    'plenum_forward_delay_seconds_count',
    'plenum_udp_datagrams_total{direction="out"}',
    'plenum_shard_wake_ups_total',
    'plenum_shard_turnaround_seconds_count',
    'plenum_drops_total{reason="awaiting_keyframe"}',
    'plenum_event_logs',
  ]) {
    await until(`${moved} is more than 0`, async () => {
      const [value] = await prometheus.values(`sum(max_over_time(${moved}[5m]))`);
      return value > 0;
    });
  }
});

test('alerts and recorded values are loaded, and ask for what there is', async t => {
  promtool(['check', 'rules', ALERTS]);
  promtool(['test', 'rules', 'alerts.yml'], { cwd: file('.') });
  const { groups } = await prometheus.api('rules');
  const rules = groups.flatMap(group => group.rules);
  assert.ok(rules.length > 15, 'the rules were read');
  for (const { name, query, type } of rules) {
    await t.test(name, async () => {
      // An alert has no result while all is well, but what it looks at is there.
      const asked = type === 'recording' ? [name] : query.match(SELECTOR);
      assert.ok(asked?.length > 0, `${query} asks for nothing`);
      for (const selector of asked) {
        await until(`${selector} is there`, async () => (await prometheus.values(selector)).length > 0);
      }
    });
  }
});

/** A series with its labels, as the expressions here have them. */
const SELECTOR = /\b(?:up\b|plenum[_:][a-z_:0-9]+|process_[a-z_]+)(?:\{[^}]*\})?/g;

test('nothing is wrong, so no alert fires', async () => {
  const { alerts } = await prometheus.api('alerts');
  const firing = alerts.filter(({ state }) => state === 'firing');
  assert.deepEqual(firing, []);
});
