// The Dockerfile, where there is no Docker: what it copies is enough to build from, and (with
// PLENUM_LONG=1, as root: minutes) its steps run as they stand, each stage in a Debian of its own.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('../..', import.meta.url));
/** What each base image has beyond Debian's essential packages, as far as it matters here. */
const BASES = {
  'rust:1-bookworm': 'ca-certificates,gcc,g++,libc6-dev,make',
  'debian:bookworm-slim': '',
};
const isLong = Boolean(process.env.PLENUM_LONG) && process.getuid() === 0;

let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plenum-dockerfile-'));
});
after(() => rm(folder, { recursive: true }));

function run(command, args, options = {}) {
  const done = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, ...options });
  if (done.error) throw done.error;
  assert.equal(done.status, 0, `${command} ${args.join(' ')}:\n${done.stdout}${done.stderr}`);
  return done.stdout;
}

/** Copies what .dockerignore leaves of what is under version control. */
async function context(to) {
  const rules = (await readFile(join(SOURCE, '.dockerignore'), 'utf8'))
    .split('\n')
    .filter(line => line && !line.startsWith('#'));
  assert.equal(rules[0], '*', 'everything is left out that is not named');
  const within = (path, place) => path === place || path.startsWith(`${place}/`);
  const isTaken = path =>
    rules.reduce((taken, rule) => {
      if (rule.startsWith('!')) return taken || within(path, rule.slice(1));
      return taken && rule !== '*' && !within(path, rule);
    }, false);
  const known = run('git', ['-C', SOURCE, 'ls-files', '-z', '--cached']).split('\0');
  for (const path of known.filter(path => path && isTaken(path))) {
    await mkdir(dirname(join(to, path)), { recursive: true });
    await cp(join(SOURCE, path), join(to, path));
  }
}

test('what is copied into the image is a workspace that Cargo reads', async () => {
  const copied = join(folder, 'context');
  await context(copied);
  run('cargo', ['metadata', '--locked', '--no-deps', '--format-version=1'], { cwd: copied });
});

/** The Dockerfile's instructions, each with its arguments. */
async function instructions() {
  const text = await readFile(join(SOURCE, 'Dockerfile'), 'utf8');
  const lines = text
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n/g, ' ')
    .split('\n');
  return lines.filter(line => line.trim()).map(line => /^(\w+)\s+(.*)$/.exec(line).slice(1));
}

/** A shell command in a root of its own, whose mounts are gone when it ends. */
function inside(root, script, mounts = []) {
  const bind = ([from, to]) => `mkdir -p "${root}${to}" && mount --bind "${from}" "${root}${to}"`;
  const all = [['/dev', '/dev'], ['/proc', '/proc'], ...mounts].map(bind);
  return ['unshare', ['--mount', 'bash', '-ec', `${all.join('\n')}\nexec chroot "${root}" ${script}`]];
}

/** Rust as its image has it, and what the build mounts to keep. */
function rust() {
  const sysroot = run('rustc', ['--print=sysroot']).trim();
  const home = process.env.CARGO_HOME ?? join(process.env.HOME, '.cargo');
  return [
    [sysroot, '/usr/local/rustup'],
    [join(home, 'registry'), '/usr/local/cargo/registry'],
  ];
}

/** One stage's state, and what each instruction does to it. */
const STEPS = {
  async WORKDIR(stage, path) {
    stage.workdir = path;
    await mkdir(stage.root + path, { recursive: true });
  },
  async COPY(stage, text, stages) {
    const [, from, what] = /^(?:--from=(\S+) )?(.*)$/.exec(text);
    const paths = what.split(/\s+/);
    const target = paths.pop();
    const source = from ? stages[from].root : join(folder, 'context');
    for (const path of paths) {
      const to = join(stage.root, target.startsWith('/') ? target : join(stage.workdir, target));
      const isFolder = target.endsWith('/') && path !== '.';
      await cp(join(source, path), isFolder ? join(to, path) : to, { recursive: true });
    }
  },
  async RUN(stage, text) {
    const command = text.replace(/--mount=\S+\s+/g, '');
    await writeFile(`${stage.root}/step`, `cd ${stage.workdir ?? '/'}\n${command}\n`);
    const env = 'PATH=/usr/local/rustup/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/usr/local/cargo';
    await cp('/etc/resolv.conf', `${stage.root}/etc/resolv.conf`, { dereference: true });
    const mounts = stage.isBuild ? rust() : [];
    run(...inside(stage.root, `/usr/bin/env -i ${env} /bin/sh -e /step`, mounts));
    await rm(`${stage.root}/step`);
  },
};

test('each step runs in a clean root, and what comes of it serves, is healthy, and ends well', {
  skip: !isLong,
  timeout: 3_600_000,
}, async () => {
  const stages = {};
  let stage;
  const settings = {};
  for (const [name, text] of await instructions()) {
    if (name === 'FROM') {
      const [, base, as] = /^(\S+)(?: AS (\S+))?$/.exec(text);
      const root = join(folder, as ?? 'final');
      const packages = BASES[base];
      assert.notEqual(packages, undefined, `a base image that is known: ${base}`);
      const include = packages ? [`--include=${packages}`] : [];
      run('mmdebstrap', ['--variant=minbase', ...include, 'bookworm', root]);
      stage = { root, isBuild: base.startsWith('rust:') };
      stages[as ?? 'final'] = stage;
    } else if (STEPS[name]) {
      console.log(`# ${name} ${text}`);
      await STEPS[name](stage, text, stages);
    } else {
      settings[name] = text;
    }
  }
  assert.deepEqual(Object.keys(settings).sort(), ['ENTRYPOINT', 'HEALTHCHECK', 'STOPSIGNAL', 'USER']);

  // A network of its own, a root that nobody writes to, and no rights.
  const [program] = JSON.parse(settings.ENTRYPOINT);
  const check = JSON.parse(/CMD (.*)$/.exec(settings.HEALTHCHECK)[1]);
  const quoted = check.map(word => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const as = `setpriv --reuid=${settings.USER} --regid=${settings.USER} --clear-groups --no-new-privs --bounding-set=-all`;
  const script = join(folder, 'serve');
  const { root } = stages.final;
  await writeFile(
    script,
    [
      'healthy=no',
      'ip link set lo up',
      `mount --bind /proc ${root}/proc && mount --bind /dev ${root}/dev`,
      `mount --rbind ${root} ${root} && mount -o remount,bind,ro ${root}`,
      `chroot ${root} ${as} ${program} & server=$!`,
      'for _ in $(seq 50); do',
      `  chroot ${root} ${as} ${quoted} && healthy=yes && break`,
      '  sleep 0.2',
      'done',
      '[ $healthy = yes ] && echo healthy',
      `kill -s ${settings.STOPSIGNAL.replace('SIG', '')} $server && wait $server && echo "ended well"`,
    ].join('\n'),
  );
  const said = execFileSync('unshare', ['--mount', '--net', 'bash', '-u', script], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  assert.match(said, /healthy\nended well/);
});
