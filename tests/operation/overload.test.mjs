// A machine that is too small, for real: control groups take processor and memory away (as root,
// where there are some to be had).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { access, constants, mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { Server } from '../browser/lib/server.mjs';
import { until } from '../browser/lib/until.mjs';

const LOADTEST =
  process.env.PLENUM_LOADTEST ?? fileURLToPath(new URL('../../target/debug/loadtest', import.meta.url));
const CGROUPS = '/sys/fs/cgroup';

/** Memory that a few hundred sessions fill. */
const LIMIT_BYTES = 128 << 20;

/** Where a group with these limits is made: version 2 has one tree, version 1 one for each controller. */
const VERSIONS = [
  {
    place: name => join(CGROUPS, name),
    cpu: ['cpu.max', ms => `${ms * 1000} 100000`],
    memory: ['memory.max'],
  },
  {
    place: (name, controller) => join(CGROUPS, controller, name),
    cpu: ['cpu.cfs_quota_us', ms => `${ms * 1000}`],
    memory: ['memory.limit_in_bytes'],
  },
];

const groups = [];
after(async () => {
  for (const group of groups) await rmdir(group).catch(() => {});
});

/** A group whose controller has this file; `null` where that cannot be made. */
async function group(controller) {
  for (const version of VERSIONS) {
    const folder = version.place(`plenum-test-${process.pid}`, controller);
    const [file, write = String] = version[controller];
    try {
      await mkdir(folder, { recursive: true });
      groups.push(folder);
      await access(join(folder, file), constants.W_OK);
      return {
        limit: value => writeFile(join(folder, file), write(value)),
        processes: join(folder, 'cgroup.procs'),
      };
    } catch {
      // The other version, then.
    }
  }
  return null;
}

function loadtest(server, ...args) {
  return spawn(LOADTEST, [...args, '--url', server.url], { stdio: 'ignore' });
}

describe('on a machine that is too small', { timeout: 180_000 }, () => {
  test('video is left out, sound goes on, nobody is lost, and it comes back', async context => {
    const cpu = await group('cpu');
    if (!cpu) return context.skip('no control groups for the processor');
    const server = await Server.start(['--shards=1', '--log=warn']);
    await writeFile(cpu.processes, `${server.pid}`);
    const sum = async (name, labels) => (await server.metrics()).sum(name, labels);
    const call = loadtest(
      server,
      ...['conference', '--rooms', '1', '--people', '8', '--slots', '7', '--simulcast'],
      ...['--video-kbps', '1500', '--seconds', '120', '--max-loss', '100', '--max-video-loss', '100'],
    );
    try {
      await until('all are connected', async () => (await sum(/^plenum_sessions_connected$/)) === 8, 20_000);
      const out = async kind => sum(/^plenum_packets_total$/, { direction: 'out', kind });
      const rate = async kind => {
        const before = await out(kind);
        await sleep(3_000);
        return ((await out(kind)) - before) / 3;
      };
      const [sound, video] = [await rate('audio'), await rate('video')];
      const share = () => sum(/^plenum_shard_video_share_ratio$/);
      // What is left: some of what it was seen to need.
      const before = await cpuSeconds(server.pid);
      await sleep(2_000);
      const needs = ((await cpuSeconds(server.pid)) - before) / 2;
      let part = 0.7;
      const isLittle = async () => {
        // A busy thread does more at a time, so that it needs less than it took.
        part *= 0.8;
        await cpu.limit(Math.max(1, Math.round(100 * needs * part)));
        await sleep(5_000);
        return (await share()) <= 0.5;
      };
      await until('much of the video is left out', isLittle, 60_000);
      let soundThen = 0;
      const isWhole = async () => {
        soundThen = await rate('audio');
        return soundThen > 0.97 * sound;
      };
      await until('all of the sound is there', isWhole, 30_000);
      const videoThen = await rate('video');
      context.diagnostic(
        `${needs.toFixed(2)} processors, then ${(100 * part).toFixed(0)} % of that: ${video.toFixed(0)} packets of video a second, ` +
          `then ${videoThen.toFixed(0)}; of sound ${sound.toFixed(0)}, then ${soundThen.toFixed(0)}`,
      );
      assert.ok(videoThen < 0.8 * video, 'less video');
      assert.match(server.log, /does not keep up/);
      await cpu.limit(100_000);
      const left = await share();
      await until('some of it is back', async () => (await share()) > left, 30_000);
      assert.equal(await sum(/^plenum_sessions_connected$/), 8, 'nobody was lost');
    } finally {
      call.kill('SIGKILL');
      await server.stop();
    }
  });

  test('a storm of joins meets 503 before memory is gone', async context => {
    const memory = await group('memory');
    if (!memory) return context.skip('no control groups for memory');
    await memory.limit(LIMIT_BYTES);
    // What a process has was counted where it was born, so it is born there.
    const born = ['sh', '-c', 'echo $$ > "$0" && exec "$@"', memory.processes];
    const server = await Server.start(['--max-load=1', '--log=warn'], born);
    let storm;
    try {
      assert.equal((await server.metrics()).sum(/^plenum_memory_limit_bytes$/), LIMIT_BYTES);
      storm = loadtest(
        server,
        ...['join-storm', '--subscribers', '2000', '--within', '10', '--seconds', '1', '--video', 'none'],
      );
      let most = 0;
      const refused = async () => {
        most = Math.max(most, await residentBytes(server.pid));
        return (await server.metrics()).sum(/^plenum_http_refusals_total$/, { limit: 'memory' }) > 0;
      };
      await until('somebody is refused', refused, 60_000);
      await until('the storm is over', async () => (await refused()) && storm.exitCode !== null, 60_000);
      context.diagnostic(`at most ${(most / LIMIT_BYTES).toFixed(2)} of the limit`);
      // Sessions are let in up to three quarters; the rest is what nobody could know before.
      assert.ok(most < 0.8 * LIMIT_BYTES, `${most} bytes of ${LIMIT_BYTES}`);
      assert.ok(server.isRunning, 'the kernel ended it');
    } finally {
      storm?.kill('SIGKILL');
      await server.stop();
    }
  });
});

async function cpuSeconds(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const [user, system] = stat.slice(stat.lastIndexOf(')')).split(' ').slice(12, 14);
  return (Number(user) + Number(system)) / 100;
}

async function residentBytes(pid) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)[1]) * 1024;
}
