// The server under test: a process of its own, real UDP and HTTP on loopback.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { freeTcpPort, freeUdpPort } from './ports.mjs';
import { until } from './until.mjs';

/** `tests/run` says which binary it built. */
const BINARY =
  process.env.PLENUM_SERVER ?? fileURLToPath(new URL('../../../target/debug/plenum', import.meta.url));

/** How long the server may take to tell everyone and go; it promises less. */
const EXIT_TIMEOUT_MS = 10_000;

/** The server's settings, by the names that its command line has for them. */
const flags = ({ http, operator, udp }) => [
  `--http=127.0.0.1:${http}`,
  `--operator=127.0.0.1:${operator}`,
  `--udp=127.0.0.1:${udp}`,
];

export class Server {
  #child = null;
  #log = '';
  #more;
  #through;

  /**
   * Starts a server on free ports and waits until it is ready. `more` are further arguments, and `through` a
   * command that is given the server's and becomes it.
   */
  static async start(more = [], through = []) {
    const ports = { http: await freeTcpPort(), operator: await freeTcpPort(), udp: await freeUdpPort() };
    const server = new Server(ports, more, through);
    await server.run();
    return server;
  }

  constructor(ports, more, through = []) {
    this.ports = ports;
    this.url = `http://127.0.0.1:${ports.http}`;
    this.operatorUrl = `http://127.0.0.1:${ports.operator}`;
    this.#more = more;
    this.#through = through;
  }

  /** Starts the process, on the same ports as before. */
  async run() {
    const [program, ...args] = [...this.#through, BINARY, ...flags(this.ports), ...this.#more];
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, RUST_BACKTRACE: '1' },
    });
    this.#child = child;
    const kill = () => child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.off('exit', kill));
    if (child.pid === undefined) {
      const [error] = await once(child, 'error');
      throw new Error(`cannot start ${BINARY}: ${error.message}`);
    }
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        this.#log += text;
      });
    }
    await until('the server is ready', async () => {
      if (child.exitCode !== null) return true;
      return (await fetch(`${this.operatorUrl}/readyz`)).ok;
    });
    if (!this.isRunning) throw new Error(`the server did not start:\n${this.#log}`);
  }

  get isRunning() {
    return this.#child?.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** All that it has logged. */
  get log() {
    return this.#log;
  }

  get pid() {
    return this.#child.pid;
  }

  /** Sends a signal (Ctrl-C is SIGINT), waits for the end and tells how it came. */
  async stop(signal = 'SIGINT') {
    const child = this.#child;
    if (!this.isRunning) return { code: child.exitCode, signal: child.signalCode };
    const exited = once(child, 'exit', { signal: AbortSignal.timeout(EXIT_TIMEOUT_MS) });
    child.kill(signal);
    try {
      const [code, by] = await exited;
      return { code, signal: by };
    } catch {
      child.kill('SIGKILL');
      await once(child, 'exit');
      throw new Error(`the server did not end within ${EXIT_TIMEOUT_MS} ms of ${signal}:\n${this.#log}`);
    }
  }

  /** What it exports: every sample of /metrics. */
  async metrics() {
    const response = await fetch(`${this.operatorUrl}/metrics`);
    if (!response.ok) throw new Error(`/metrics answered ${response.status}`);
    return new Metrics(await response.text());
  }

  /** What to add to a failure: the end of the log. */
  get lastWords() {
    return `\n--- the server's log ---\n${this.#log.slice(-4000)}`;
  }
}

/** Samples in Prometheus' text format. */
export class Metrics {
  constructor(text) {
    this.samples = [];
    for (const line of text.split('\n')) {
      const parts = /^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)/i.exec(line);
      if (!parts) continue;
      const labels = Object.fromEntries(
        [...(parts[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]),
      );
      this.samples.push({ name: parts[1], labels, value: Number(parts[3]) });
    }
  }

  /** Sum of the samples whose name matches and whose labels include these. */
  sum(name, labels = {}) {
    const wanted = Object.entries(labels);
    return this.samples
      .filter(
        sample => name.test(sample.name) && wanted.every(([key, value]) => sample.labels[key] === value),
      )
      .reduce((sum, sample) => sum + sample.value, 0);
  }

  /** Datagrams and packets that were dropped for a reason. */
  dropped(reason) {
    return this.sum(/drop/, { reason });
  }
}
