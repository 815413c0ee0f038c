// People come and go, thousands of them, and nothing of them stays.
//
// Some hundreds each time. With PLENUM_LONG=1 ten thousand, in six minutes; PLENUM_JOINS=100000 makes it
// as many as that, and with a release build PLENUM_JOIN_RATE=250 as many a second.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const LOADTEST =
  process.env.PLENUM_LOADTEST ?? fileURLToPath(new URL('../../target/debug/loadtest', import.meta.url));

/** Joins per second: what two cores carry in a debug build, both ends included, without a rest. */
const RATE = Number(process.env.PLENUM_JOIN_RATE ?? 80);

/**
 * Sessions altogether, and in a round, of which the first is for allocators and tables to find
 * their size. Logs of events are kept for a minute, so a round is a minute of joins at least: with
 * less, the second would be the first to have that many of them.
 */
const [JOINS, ROUND] = [Number(process.env.PLENUM_JOINS ?? 10_000), Math.max(5_000, RATE * 60)];
const isWanted = Boolean(process.env.PLENUM_LONG ?? process.env.PLENUM_JOINS);

/**
 * How much may be allocated after all have left beyond what was after the first round, in bytes:
 * half a kibibyte for each session of one more round. A session holds some 100 KiB while it is
 * there. Tables keep the size of their fullest moment, some 5 KiB for each session of it: a machine
 * that stood still in a later round, so that a thousand more were there at once, breaks this bound.
 */
const GROWTH_BYTES = 2.5 * 1024 * 1024;

/**
 * How much anonymous memory may grow beside, in bytes: whole pages, of which each thread keeps
 * pieces that it freed (glibc: 448 in a thread). It varies from run to run and from round to
 * round, and does not grow with the number of sessions.
 */
const HELD_BYTES = 16 * 1024 * 1024;

/**
 * Joins of a short run, of which half come first, and what memory may grow by with the rest: two
 * thirds of what as many sessions hold, as allocators have not found their size yet.
 */
const [FEW, FEW_GROWTH_BYTES] = [480, 16 * 1024 * 1024];

/** Within this the allocator gives back what it keeps, and is asked what is left. */
const SETTLED_SECONDS = 70;

/**
 * Logs of events are kept for a minute after a session's end; and a client whose goodbye was lost
 * is missed after half a minute at the most (RFC 7675).
 */
const FORGOTTEN_MS = 100_000;

let server;
before(async () => {
  server = await Server.start(['--shards=2', '--log=warn', '--max-load=1']);
});
after(() => server?.stop());

/** About so many people come for a second or less, in turn to a broadcast and to a meeting. */
async function churn(joins, kind) {
  const child = spawn(
    LOADTEST,
    [
      ...['churn', '--url', server.url, '--subscribers', '2', '--churn-per-second', String(RATE)],
      ...['--shortest-stay', '0.2', '--longest-stay', '0.8', '--seconds', String(joins / RATE)],
      ...['--video-kbps', '100', '--max-loss', '100', '--max-video-loss', '100', ...kind],
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

/** What the process holds. */
async function holdings() {
  const process = `/proc/${server.pid}`;
  const status = await readFile(`${process}/status`, 'utf8');
  const number = name => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)[1]);
  return {
    // Not resident memory as such: a debug build's own code is most of that.
    memory: number('RssAnon') * 1024,
    threads: number('Threads'),
    files: (await readdir(`${process}/fd`)).length,
  };
}

/** The same once nobody is there, with what is allocated, which the server looks at now and then. */
async function settled() {
  let least = Number.POSITIVE_INFINITY;
  for (let second = 0; second < SETTLED_SECONDS; second += 1) {
    await sleep(1_000);
    const { samples } = await server.metrics();
    const [allocated] = samples.filter(({ name }) => name === 'plenum_memory_allocated_bytes');
    least = Math.min(least, allocated.value);
  }
  return { ...(await holdings()), allocated: least };
}

/** Gauges of what is there for a session or because of one. */
const GAUGES =
  /^plenum_(rooms|sessions|sessions_connected|tracks|subscriptions|http_connections|event_streams|event_logs|shard_queued_commands|shard_queued_batches)$/;

async function left(gone = GAUGES) {
  const { samples } = await server.metrics();
  const gauges = samples.filter(({ name, value }) => gone.test(name) && value !== 0);
  return gauges.map(({ name, labels, value }) => `${name}${JSON.stringify(labels)} ${value}`);
}

/** Waits until what is kept for a while after a session is gone as well. */
async function allIsForgotten(gone = GAUGES) {
  const forgotten = async () => {
    const rest = await left(gone);
    if (rest.length > 0) throw new Error(rest.join(', '));
    return true;
  };
  await until('every gauge is back at nothing', forgotten, FORGOTTEN_MS);
}

/** Asserts that nothing has grown. */
function assertSame(early, late, growth) {
  const seen = JSON.stringify({ early, late });
  assert.ok(late.memory - early.memory <= growth, `memory has grown: ${seen}`);
  // The runtime's helpers come with load and go when they are idle.
  assert.ok(late.threads <= early.threads + 2, seen);
  assert.ok(late.files <= early.files + 4, seen);
  return seen;
}

test('hundreds come and go, and nothing of them stays', {
  skip: isWanted,
  timeout: 120_000,
}, async context => {
  // What is kept for a minute is for the longer run.
  const soon = new RegExp(GAUGES.source.replace('|event_logs', ''));
  const round = async () => {
    await churn(FEW / 4, []);
    await churn(FEW / 4, ['--conference']);
    await allIsForgotten(soon);
    return holdings();
  };
  const early = await round();
  context.diagnostic(assertSame(early, await round(), FEW_GROWTH_BYTES));
  const opened = (await server.metrics()).sum(/^plenum_sessions_opened_total$/);
  assert.ok(opened >= FEW * 0.9, `${opened} came`);
});

test('thousands come and go, and nothing of them stays', {
  skip: !isWanted,
  timeout: JOINS * 60 + 300_000,
}, async context => {
  const round = async () => {
    await churn(ROUND / 2, []);
    await churn(ROUND / 2, ['--conference']);
  };
  await round();
  await allIsForgotten();
  const early = await settled();
  for (let joins = ROUND; joins < JOINS; joins += ROUND) {
    await round();
    context.diagnostic(`after a further round: ${JSON.stringify(await holdings())}`);
  }
  await allIsForgotten();
  const late = await settled();
  const opened = (await server.metrics()).sum(/^plenum_sessions_opened_total$/);
  assert.ok(opened >= JOINS * 0.95, `${opened} came`);

  context.diagnostic(assertSame(early, late, HELD_BYTES));
  const grown = late.allocated - early.allocated;
  assert.ok(grown <= GROWTH_BYTES, `${grown} bytes of what was allocated were not freed`);
});
