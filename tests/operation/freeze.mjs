// Holds threads of a server still for a while; needs the right to trace processes, as root has it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('freeze.py', import.meta.url));

/** Threads of these names stand still while `meanwhile` runs, and for `seconds` at the least. */
export async function frozen(pid, seconds, names, meanwhile = async () => {}) {
  const child = spawn('python3', [SCRIPT, String(pid), String(seconds), ...names], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', text => {
    said += text;
  });
  const ended = once(child, 'exit');
  const first = await Promise.race([once(child.stdout, 'data'), ended]);
  if (!String(first[0]).startsWith('frozen')) throw new Error(`nothing could be frozen: ${said}`);
  try {
    await meanwhile();
  } finally {
    child.stdin.end();
    await ended;
  }
}
