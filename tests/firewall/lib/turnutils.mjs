// coturn's own client and peer, on the client's machine.

import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { SERVER } from './network.mjs';

/** How long one of them may take. */
const PATIENCE_MS = 15_000;
const PEER_PORT = 3480;

/** Sends messages to a peer through a relay, and returns what is said of it. */
export async function uclient(network, { username, credential, port, options = [], peer }) {
  const who = ['-u', username, '-w', credential];
  const what = ['-c', '-n', '10', '-m', '2', '-p', `${port}`, '-r', `${PEER_PORT}`, ...options];
  const whom = peer ? ['-e', peer] : ['-y'];
  return run(network, ['turnutils_uclient', ...what, ...whom, ...who, SERVER]);
}

/** Echoes what it gets at an address of the client's, until it is stopped. */
export async function startPeer(network, address) {
  const command = network.on('client', ['turnutils_peer', '-p', `${PEER_PORT}`, '-L', address]);
  const child = spawn(command[0], command.slice(1), { stdio: 'ignore' });
  process.once('exit', () => child.kill('SIGKILL'));
  return child;
}

async function run(network, line) {
  const command = network.on('client', line);
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', text => {
      said += text;
    });
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  await once(child, 'close');
  clearTimeout(timer);
  return said;
}
