// The suite that judges any server by RFC 9725 and WHEP, row by row, finds nothing broken here.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Server } from '../browser/lib/server.mjs';

const run = promisify(execFile);
const binary = name => fileURLToPath(new URL(`../../target/debug/${name}`, import.meta.url));
const PLENUM = process.env.PLENUM_SERVER ?? binary('plenum');
const LOADTEST = process.env.PLENUM_LOADTEST ?? binary('loadtest');
const SECRET = 'a-secret-for-the-suite-that-is-long-enough';

test('every row that a program can judge from outside is kept', async () => {
  const server = await Server.start(['--strict-if-match', `--key=${SECRET}`]);
  try {
    const { stdout: token } = await run(PLENUM, [
      ...['token', '--key', SECRET, '--room', 'demo', '--identity', 'suite'],
      ...['--publish', '--subscribe', '--admin'],
    ]);
    const doors = [`--whip=${server.url}/whip/demo`, `--whep=${server.url}/whep/demo`];
    const suite = ['conformance', ...doors, '--json', '--token', token.trim()];
    const { stdout } = await run(LOADTEST, suite, { timeout: 60_000 }).catch(failed => failed);
    const { rows } = JSON.parse(stdout);
    // Nothing is left out either: the server has all that the suite can ask for.
    const others = rows.filter(row => row.verdict !== 'kept');
    assert.deepEqual(others, []);
    assert.ok(rows.length >= 45, `${rows.length} rows`);
  } finally {
    await server.stop();
  }
});
