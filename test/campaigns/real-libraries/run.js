// Swaps large libraries of others to and fro, each in a process of its own, and prints what of them stays.

import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loaded, SoHandle } from 'soswap';
import { compile } from '../../../fixtures/compile.js';
import { libraries } from './libraries.js';

const help = `usage: node test/campaigns/real-libraries/run.js [OPTIONS]      (after npm run build)

  --only NAME     only this; may be given more than once: ${Object.keys(libraries).join(' ')}
  --swaps N       swaps of each, to the other version and back; 50 by default
  --unload WHAT   auto (default) or always
  --help          this text

Gets the libraries with npm and apt-get into build/real-libraries, about 350 MB, unless they are there: linux-x64 only.
Uses each version between the swaps, checks the results, and makes every third use a nonblocking call.

Columns: "RSS" is resident memory after the second swap and at the end; "held" is what the images of soswap hold then,
copies and written pages; "images" are those that are mapped at the end, beside the one that runs, with their reasons.

Exit code: 0, whatever stays; 1 at a wrong result, an error or a crash; 2 for wrong options; 130 after Ctrl-C.`;

const root = fileURLToPath(new URL('../../..', import.meta.url));
const directory = join(root, 'build', 'real-libraries');
const values = options();
process.on('SIGINT', () => process.exit(130));
if (values.child !== undefined) await swapToAndFro(values.child);
else for (const name of values.only) runChild(name);

function options() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', multiple: true, default: [] },
        swaps: { type: 'string', default: '50' },
        unload: { type: 'string', default: 'auto' },
        child: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(help);
      process.exit();
    }
    const wrong = values.only.find((name) => !(name in libraries));
    if (wrong !== undefined) throw new Error(`there is no library '${wrong}'`);
    if (!(Number(values.swaps) >= 2)) throw new Error('--swaps must be 2 or more');
    if (values.only.length === 0) values.only.push(...Object.keys(libraries));
    return values;
  } catch ({ message }) {
    console.error(`real-libraries: ${message}\n\n${help}`);
    process.exit(2);
  }
}

function runChild(name) {
  const { versions, needs = [] } = libraries[name];
  for (const each of [...versions, ...needs]) fetch(each);
  const path = needs.map((each) => join(folder(each), each.directory)).join(':');
  const args = [fileURLToPath(import.meta.url), '--child', name];
  const { status, signal } = spawnSync(
    process.execPath,
    ['--expose-gc', ...args, '--swaps', values.swaps, '--unload', values.unload],
    { stdio: 'inherit', env: { ...process.env, LD_LIBRARY_PATH: path } },
  );
  if (status === 0) return;
  console.log(`${name}: ended with ${signal ?? `exit code ${status}`}`);
  if (signal === 'SIGINT' || status === 130) process.exit(130);
  process.exitCode = 1;
}

function folder({ source, package: name, version }) {
  return join(directory, `${source}-${name.replaceAll('/', '-')}-${version}`);
}

/** Gets a package, unless it is there. */
function fetch(wanted) {
  const target = folder(wanted);
  if (existsSync(target)) return;
  const { source, package: name, version } = wanted;
  console.log(`getting ${name} ${version}`);
  const partial = `${target}.partial`;
  rmSync(partial, { recursive: true, force: true }); // of a run that was ended
  mkdirSync(partial, { recursive: true });
  const sh = (command, ...args) =>
    execFileSync(command, args, { cwd: partial, encoding: 'utf8' }).trim();
  if (source === 'npm') {
    const file = sh('npm', 'pack', '--silent', `${name}@${version}`);
    sh('tar', '-xzf', file, '--strip-components=1', join('package', wanted.directory, wanted.file));
    sh('rm', file);
  } else {
    // As root it warns that its own user may not write here.
    sh('apt-get', '-qq', '-o', 'APT::Sandbox::User=root', 'download', `${name}=${version}`);
    sh('sh', '-c', 'dpkg-deb -x *.deb . && rm *.deb');
  }
  renameSync(partial, target);
}

function held() {
  const status = readFileSync('/proc/self/status', 'utf8');
  const images = loaded();
  const bytes = images.reduce((sum, { copySize, writtenSize }) => sum + copySize + writtenSize, 0);
  return {
    rss: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)[1]) / 1024,
    held: bytes / 2 ** 20,
    old: images.filter(({ state }) => state === 'retained'),
  };
}

async function swapToAndFro(name) {
  const { versions, definitions, use, leave } = libraries[name];
  const path = join(directory, `${name}.so`);
  const next = `${path}.next`;
  const put = (version) => {
    copyFileSync(join(folder(version), version.directory, version.file), next);
    renameSync(next, path);
  };
  put(versions[0]);
  const unload = values.unload;
  const so = SoHandle.open(path, definitions, { unload, maxRetained: { bytes: 2 ** 32 } });
  const aside = Object.fromEntries(
    Object.entries(definitions).map(([symbol, definition]) => [
      symbol,
      { ...definition, nonblocking: true },
    ]),
  );
  const calls = { now: so.functions, aside: undefined };
  const helper = (file) => compile(fileURLToPath(new URL(file, import.meta.url)), `${path}.helper`);
  const context = { helper, SoHandle };
  let second;
  let swaps = 0;
  let refused = '';
  // One handle for both kinds of calls: a function has one signature in each.
  const other = SoHandle.open(path, aside, { unload, maxRetained: { bytes: 2 ** 32 } });
  calls.aside = other.functions;
  for (; swaps < Number(values.swaps); swaps++) {
    const version = versions[swaps % versions.length];
    await use(calls.now, version, context);
    if (swaps % 3 === 0) await use(calls.aside, version, context);
    for (const functions of [calls.now, calls.aside]) await leave?.(functions);
    put(versions[(swaps + 1) % versions.length]);
    try {
      for (const handle of [so, other]) {
        await handle.swap({ order: swaps % 2 === 0 ? 'close-first' : 'open-first' });
      }
    } catch (error) {
      if (error.code !== 'ERR_SOSWAP_RETAINED_LIMIT') throw error;
      refused = `, refused then: ${error.message}`;
      break;
    }
    if (swaps === 1) {
      globalThis.gc?.();
      second = held();
    }
    if (swaps % 10 === 9) process.stderr.write(`${name}: ${swaps + 1} swaps\n`);
  }
  for (let turn = 0; turn < 60 && held().old.length > 0; turn++) await sleep(50);
  globalThis.gc?.();
  const end = held();
  const MB = (number) => `${number.toFixed(0)} MiB`;
  const reasons = new Map();
  for (const { retained } of end.old) {
    const text = retained.map(({ code, detail }) => `${code}: ${detail}`).join('; ');
    reasons.set(text, (reasons.get(text) ?? 0) + 1);
  }
  console.log(
    `${name}: ${swaps} swaps of two handles${refused}; RSS ${MB(second.rss)} to ${MB(end.rss)}; ` +
      `held ${MB(second.held)} to ${MB(end.held)}; ${end.old.length} old images`,
  );
  for (const [text, count] of reasons) console.log(`  ${count} × ${text}`);
  so.close();
  other.close();
}
