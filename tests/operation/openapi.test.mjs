// A program that tries whatever `/openapi.json` allows, and some of what it does not, finds the server to be as it says.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Server } from '../browser/lib/server.mjs';

const run = promisify(execFile);
const file = path => fileURLToPath(new URL(path, import.meta.url));
const PLENUM = process.env.PLENUM_SERVER ?? file('../../target/debug/plenum');
const SECRET = 'a-secret-for-the-suite-that-is-long-enough';
/** How long it tries; with `PLENUM_LONG` ten minutes. */
const SECONDS = process.env.PLENUM_LONG ? 600 : 25;
/** Every run tries the same, except for long ones. */
const SEED = process.env.PLENUM_LONG ? `${Date.now()}` : '5';

test('the interface is as its description says, whatever is sent', async context => {
  const server = await Server.start([`--key=${SECRET}`]);
  const folder = await mkdtemp(join(tmpdir(), 'plenum-openapi-'));
  try {
    const { stdout } = await run(PLENUM, [
      ...['token', '--key', SECRET, '--room', '*', '--identity', 'suite'],
      ...['--publish', '--subscribe', '--data', '--admin'],
    ]);
    const token = stdout.trim();
    const location = `${server.url}/openapi.json`;
    const document = join(folder, 'openapi.json');
    await writeFile(document, await (await fetch(location)).text());
    const args = [
      ...['--config-file', file('schemathesis.toml'), 'run', location, '--no-color', '--seed', SEED],
      ...['--header', `Authorization: Bearer ${token}`, '--max-time', `${SECONDS}`],
      // What deletes and what reads are not played as stories: the hooks look after sessions.
      ...['--phases', 'examples,coverage,fuzzing', '--continue-on-failure', '--warnings', 'off'],
      // It would be the last thing that is tried.
      ...['--exclude-path', '/api/drain'],
    ];
    const env = {
      ...process.env,
      ...{ PLENUM_URL: server.url, PLENUM_TOKEN: token },
      ...{ PLENUM_DOCUMENT: document, PLENUM_HOOKS: file('openapi_hooks.py') },
    };
    const options = { cwd: folder, env, timeout: (SECONDS + 60) * 1000, maxBuffer: 2 ** 26 };
    const { stdout: said } = await run(
      process.env.PLENUM_SCHEMATHESIS ?? 'schemathesis',
      args,
      options,
    ).catch(failed => assert.fail(`${failed.message}\n${failed.stdout}${failed.stderr}${server.lastWords}`));
    const tried = Number(/(\d+) generated/.exec(said)?.[1]);
    context.diagnostic(`${tried} requests`);
    assert.ok(tried > 500, `only ${tried} requests:\n${said}`);
    // It stands, and nobody's work has ended in a panic.
    assert.ok(server.isRunning, server.lastWords);
    assert.ok(!/panicked/.test(server.log), server.lastWords);
  } finally {
    await server.stop();
    await rm(folder, { recursive: true });
  }
});
