#!/usr/bin/env node
// Every claim about speed, measured anew: `node benches/campaign.mjs [--pairs 5] [--seconds 10] [--only NAME,..]
// [--server PATH] [--before PATH]`, after `cargo build --release --workspace --bins --examples`.
//
// The server has one core and the load the next one (`--cores 0,1`); nothing else should run. Each case is repeated
// in turn with what it is compared with, and the table gives medians, with the least and the most. `--before` names
// an older binary of the server: it is run beside the new one, in the same pairs. A whole run takes about forty
// minutes; a broken bar sets the exit code to 1.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    pairs: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '10' },
    only: { type: 'string', default: '' },
    cores: { type: 'string', default: '0,1' },
    target: { type: 'string', default: `${process.env.CARGO_TARGET_DIR ?? 'target'}/release` },
    server: { type: 'string' },
    before: { type: 'string' },
    minutes: { type: 'string', default: '10' },
  },
});
const [serverCore, loadCore] = options.cores.split(',');
const pairs = Number(options.pairs);
const loadtest = `${options.target}/loadtest`;
const ours = { name: 'plenum', path: options.server ?? `${options.target}/plenum` };
const before = options.before && { name: 'before', path: options.before };
const plain = { name: 'plain str0m', path: `${options.target}/examples/plain_server`, isPlain: true };
const only = options.only.split(',').filter(Boolean);

let nextPort = 21_000;
let broken = 0;

/** Starts a server, and gives its URL, that of its metrics and how to end it. */
async function start(server, { cores = serverCore, args = [] } = {}) {
  const port = nextPort;
  nextPort += 4;
  const given = [
    ['--http', `127.0.0.1:${port}`],
    ['--operator', `127.0.0.1:${port + 1}`],
    ['--udp', `127.0.0.1:${port + 2}`],
    ['--http-rate', '0'],
    ['--sessions-per-address', '0'],
  ].flat();
  const all = server.isPlain ? [] : [...given, ...args];
  const child = spawn('taskset', ['-c', cores, server.path, ...all], {
    stdio: ['ignore', server.isPlain ? 'pipe' : 'ignore', 'ignore'],
    env: { ...process.env, PLENUM_LOG: 'warn' },
  });
  const end = async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  if (server.isPlain) {
    const [line] = await once(child.stdout, 'data');
    return { url: String(line).split(' ')[0], pid: child.pid, end };
  }
  const operator = `http://127.0.0.1:${port + 1}`;
  for (let waited = 0; waited < 100; waited += 1) {
    const ready = await fetch(`${operator}/readyz`).then(
      response => response.ok,
      () => false,
    );
    if (ready)
      return { url: `http://127.0.0.1:${port}`, metrics: `${operator}/metrics`, pid: child.pid, end };
    await sleep(100);
  }
  await end();
  throw new Error(`${server.path} does not become ready`);
}

/** Runs the load test against a server, and gives its report. */
async function load(server, running, scenario, { floor = true } = {}) {
  const args = [
    ...scenario,
    '--url',
    running.url,
    '--pid',
    String(running.pid),
    '--seconds',
    options.seconds,
    '--json',
  ];
  if (running.metrics) args.push('--metrics', running.metrics);
  if (floor) args.push('--floor');
  const child = spawn('taskset', ['-c', loadCore, loadtest, ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  child.stdout.on('data', piece => {
    text += piece;
  });
  await once(child, 'close');
  const report = JSON.parse(text);
  for (const doubt of report.load_test.warnings) console.error(`  ${server.name}: doubt: ${doubt}`);
  return report;
}

/** What is read off a report. */
function figures({ server, totals }) {
  return {
    ns: server?.cpu_ns_per_packet,
    floors: server?.times_floor,
    kib: server?.rss_bytes_per_client / 1024,
    lost: totals.lost_percent,
    p50: totals.delay.p50_ms,
    p99: totals.delay.p99_ms,
    inside: server?.forward_delay_p99_ms,
    rate: totals.packets_per_second,
  };
}

/** Runs servers in turn, in alternating order, and gives each one's figures, run by run. */
async function inTurn(servers, scenario, { times = pairs, ...more } = {}) {
  const found = new Map(servers.map(server => [server, []]));
  for (let pair = 0; pair < times; pair += 1) {
    for (const server of pair % 2 ? [...servers].reverse() : servers) {
      const running = await start(server, server);
      try {
        found.get(server).push(figures(await load(server, running, scenario, more)));
      } finally {
        await running.end();
      }
    }
  }
  return found;
}

function median(values) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const of = (runs, name) => runs.map(run => run[name]);
const mid = (runs, name) => median(of(runs, name));
const spread = (runs, name, digits) => {
  const values = of(runs, name).filter(Number.isFinite);
  if (values.length === 0) return '-';
  const [least, most] = [Math.min(...values), Math.max(...values)].map(value => value.toFixed(digits));
  return `${median(values).toFixed(digits)} (${least} to ${most})`;
};

function row(what, name, runs) {
  const cells = [
    what,
    name,
    spread(runs, 'ns', 0),
    spread(runs, 'floors', 2),
    spread(runs, 'kib', 0),
    Math.max(...of(runs, 'lost')).toFixed(3),
    spread(runs, 'p50', 1),
    spread(runs, 'p99', 1),
    spread(runs, 'inside', 1),
  ];
  console.log(`| ${cells.join(' | ')} |`);
}

/** Says whether a bar holds. */
function bar(what, value, most) {
  const holds = value <= most;
  broken += holds ? 0 : 1;
  console.log(
    `|   ${holds ? 'holds' : '**BROKEN**'} | ${what}: ${value.toFixed(3)}, at most ${most} |||||||`,
  );
}

/** Times that a process's threads of this name gave up the processor. */
function switches(pid, thread) {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
    if (!status.match(/^Name:\s*(.*)$/m)[1].startsWith(thread)) continue;
    sum += Number(status.match(/^voluntary_ctxt_switches:\s*(\d+)$/m)[1]);
  }
  return sum;
}

const kib = pid => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/^VmRSS:\s*(\d+)/m)[1]);

const contenders = [ours, before].filter(Boolean);
const broadcast = receivers => ['broadcast', '--subscribers', `${receivers}`, '--joins-per-second', '200'];
/** As many receivers as one core of load carries: it reads every number and opens some packets. */
const light = ['--shared-sockets', '--no-decrypt'];

const cases = {
  /** One publisher to N receivers, as a multiple of the paced floor of the same minute. */
  async rooms() {
    for (const [receivers, most] of [
      [10, 2.5],
      [50, 2.5],
      [200, 1.6],
      [800, 1.35],
    ]) {
      for (const [server, runs] of await inTurn(contenders, broadcast(receivers))) {
        row(`${receivers} receivers`, server.name, runs);
        if (server !== ours) continue;
        bar('times the paced floor', mid(runs, 'floors'), most);
        bar('lost, %', Math.max(...of(runs, 'lost')), 0);
        if (receivers >= 200) bar('KiB per receiver', mid(runs, 'kib'), 64);
      }
    }
  },
  /** The most that one core carries. */
  async capacity() {
    // All of them are let in, however busy it is.
    const open = contenders.map(server => ({ ...server, args: ['--max-load', '1'] }));
    for (const [server, runs] of await inTurn(open, [...broadcast(2500), ...light], { floor: false })) {
      row('2500 receivers', server.name, runs);
      if (server.name !== ours.name) continue;
      // 175 packets a second each: fewer are seen where somebody is refused, or video is left out.
      bar('missing packets, %', 100 - Math.min(...of(runs, 'rate')) / (2500 * 1.75), 2);
      bar('lost, %', Math.max(...of(runs, 'lost')), 0.1);
      bar('delay p99, ms', mid(runs, 'p99'), 50);
    }
  },
  /** What a packet waits inside the server at half of that. */
  async half() {
    for (const [server, runs] of await inTurn(contenders, [...broadcast(1250), ...light], { floor: false })) {
      row('1250 receivers', server.name, runs);
      if (server === ours) bar('delay inside, p99, ms', mid(runs, 'inside'), 2);
    }
  },
  /** Twenty people, each of whom sees and hears all others. */
  async conference() {
    const scenario = ['conference', '--rooms', '1', '--people', '20', '--slots', '19', '--audio-slots', '19'];
    const found = await inTurn([ours, plain], [...scenario, '--no-decrypt'], { floor: false });
    for (const [server, runs] of found) row('conference of 20', server.name, runs);
    const ratios = found.get(ours).map((run, pair) => run.ns / found.get(plain)[pair].ns);
    bar("CPU per packet, of a plain str0m server's", median(ratios), 0.5);
    bar('lost, %', Math.max(...of(found.get(ours), 'lost')), 0);
    bar('delay p99, ms', mid(found.get(ours), 'p99'), 10);
  },
  /** One room on one shard and on two, which share one core where there are only two: compared by CPU per packet. */
  async shards() {
    const one = { ...ours, name: 'one shard', args: ['--shards', '1'] };
    const two = { ...ours, name: 'two shards', args: ['--shards', '2', '--viewers-per-shard', '1000'] };
    const found = await inTurn([one, two], [...broadcast(2000), ...light], { floor: false });
    for (const [server, runs] of found) row('2000 receivers', server.name, runs);
    const ratios = found.get(one).map((run, pair) => found.get(two)[pair].ns / run.ns);
    bar("CPU per packet of two shards, of one shard's (scaling of 0.8)", median(ratios), 1 / 0.8);
    bar('lost, %', Math.max(...of(found.get(two), 'lost')), 0.1);
  },
  /** Sessions in which nothing happens. */
  async idle() {
    const running = await start(ours);
    const scenario = ['broadcast', '--whep', `${running.url}/whep/idle`, '--subscribers', '200'];
    const child = spawn('taskset', ['-c', loadCore, loadtest, ...scenario, '--seconds', '40'], {
      stdio: 'ignore',
    });
    await sleep(15_000);
    const earlier = switches(running.pid, 'shard') + switches(running.pid, 'receive');
    await sleep(20_000);
    const later = switches(running.pid, 'shard') + switches(running.pid, 'receive');
    child.kill();
    await running.end();
    bar('wake-ups per second and idle session', (later - earlier) / 20 / 200, 1);
  },
  /** Memory over time. */
  async memory() {
    const running = await start(ours);
    const minutes = Number(options.minutes);
    const seconds = `${minutes * 60 + 30}`;
    const scenario = [...broadcast(200), '--url', running.url, '--seconds', seconds];
    const child = spawn('taskset', ['-c', loadCore, loadtest, ...scenario], { stdio: 'ignore' });
    await sleep(60_000);
    const resident = [kib(running.pid)];
    for (let minute = 1; minute < minutes; minute += 1) {
      await sleep(60_000);
      resident.push(kib(running.pid));
    }
    child.kill();
    await running.end();
    console.log(
      `| memory, MiB, minute by minute: ${resident.map(each => (each / 1024).toFixed(1)).join(' ')} ||||||||`,
    );
    bar("growth over time, of the first minute's", resident.at(-1) / resident[0], 1.02);
  },
};

const rustc = spawnSync('rustc', ['--version'], { encoding: 'utf8' }).stdout?.trim();
console.log(`${new Date().toISOString()}, ${rustc}, ${pairs} pairs, ${options.seconds} s each\n`);
console.log(
  '| case | server | CPU ns per packet | times the floor | KiB per client | lost % | p50 ms | p99 ms | p99 inside |',
);
console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- |');
for (const [name, run] of Object.entries(cases)) {
  if (only.length === 0 || only.includes(name)) await run();
}
process.exit(broken ? 1 : 0);
