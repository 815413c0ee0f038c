// A real Prometheus that scrapes servers under test.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { freeTcpPort } from '../browser/lib/ports.mjs';
import { until } from '../browser/lib/until.mjs';

/** What `promtool` says of an input; throws where it is not content. */
export function promtool(args, options = {}) {
  const done = spawnSync('promtool', args, { encoding: 'utf8', ...options });
  if (done.error) throw done.error;
  if (done.status !== 0) throw new Error(`promtool ${args.join(' ')}:\n${done.stdout}${done.stderr}`);
  return done.stdout + done.stderr;
}

export class Prometheus {
  #child;
  #folder;
  #log = '';

  /** Scrapes these servers (`host:port` of operators' listeners) each second, with these rules. */
  static async start(targets, rules) {
    const prometheus = new Prometheus();
    await prometheus.#run(targets, rules);
    return prometheus;
  }

  async #run(targets, rules) {
    this.#folder = await mkdtemp(join(tmpdir(), 'plenum-prometheus-'));
    const port = await freeTcpPort();
    this.url = `http://127.0.0.1:${port}`;
    // JSON is YAML.
    const config = {
      global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
      rule_files: rules,
      scrape_configs: [{ job_name: 'plenum', static_configs: [{ targets }] }],
    };
    const file = join(this.#folder, 'prometheus.yml');
    await writeFile(file, JSON.stringify(config));
    this.#child = spawn(
      'prometheus',
      [
        `--config.file=${file}`,
        `--storage.tsdb.path=${join(this.#folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--log.level=warn',
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const kill = () => this.#child.kill('SIGKILL');
    process.once('exit', kill);
    this.#child.once('exit', () => process.off('exit', kill));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        this.#log += text;
      });
    }
    await until('Prometheus is ready', async () => {
      if (this.#child.exitCode !== null) throw new Error(`Prometheus did not start:\n${this.#log}`);
      return (await fetch(`${this.url}/-/ready`)).ok;
    });
  }

  async api(path, query = {}) {
    const response = await fetch(`${this.url}/api/v1/${path}?${new URLSearchParams(query)}`);
    const { status, data, error } = await response.json();
    if (status !== 'success') throw new Error(`${path} ${JSON.stringify(query)}: ${error}`);
    return data;
  }

  /** What an expression gives now: the samples' values. */
  async values(expression) {
    const { result } = await this.api('query', { query: expression });
    return result.map(sample => Number(sample.value[1]));
  }

  async stop() {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await exited;
    await rm(this.#folder, { recursive: true });
  }
}
