// Swaps libraries that start threads, leave destructors to the end of threads, or hand work over, and prints what the
// process holds. Needs rustc.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { loaded, SoHandle } from 'soswap';
import { compile } from '../../fixtures/compile.js';

const help = `usage: node --expose-gc test/campaigns/threads.js [OPTIONS]      (after npm run build)

  --swaps N     swaps of each kind; 10,000 by default, and a tenth of it for the kind "random"
  --only KIND   only this; may be given more than once:
                  rust, c++, c   threads, and values that are destroyed at the end of threads, on the main thread, in
                                 nonblocking calls and in workers
                  uv             uv_queue_work() of the libuv in Node.js
                  random         16 threads that end at random, one always running through the swap
                  endless        a thread that never ends
  --help        this text

Prints what the process holds ten times for each kind. Ctrl-C ends it, and removes what it has compiled.

Exit code: 0 if all is well; 1 at the first wrong value, if an old image stays that should not, or if a destructor or a
piece of work has not run exactly once; 2 for wrong options; 130 after Ctrl-C.`;

const kinds = {
  rust: 'retain/counted.rs',
  'c++': 'retain/counted.cc',
  c: 'retain/counted.c',
  uv: 'retain/counted-uv.c',
  random: 'retain/ending.c',
  endless: 'retain/ending.c',
};

const values = options();
const swaps = Number(values.swaps);
const directory = mkdtempSync(join(tmpdir(), 'soswap-threads-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
process.on('SIGINT', () => process.exit(130));

function options() {
  try {
    const { values } = parseArgs({
      options: {
        swaps: { type: 'string', default: '10000' },
        only: { type: 'string', multiple: true, default: [] },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(help);
      process.exit();
    }
    const wrong = values.only.find((kind) => !(kind in kinds));
    if (wrong !== undefined) throw new Error(`there is no kind '${wrong}'`);
    if (!(Number(values.swaps) >= 10)) throw new Error('--swaps must be 10 or more');
    return values;
  } catch ({ message }) {
    console.error(`threads: ${message}\n\n${help}`);
    process.exit(2);
  }
}

function held() {
  return {
    rssKiB: Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]),
    mappings: readFileSync('/proc/self/maps', 'utf8').trimEnd().split('\n').length,
    descriptors: readdirSync('/proc/self/fd').length,
    images: loaded().length,
  };
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

async function gone(count) {
  for (let turn = 0; loaded().length > count; turn++) {
    if (turn > 600) fail(JSON.stringify(loaded()));
    await sleep(50);
  }
}

const definitions = {
  // Adds 1 to the first number for each value that it makes, and to the second for each that it destroys.
  use: { arguments: ['buffer'], return: 'int32' },
  threads: { arguments: ['buffer', 'int32'], return: 'int32' },
};

function progress(kind, round, all) {
  if (round % Math.floor(all / 10) !== 0) return;
  globalThis.gc?.();
  console.log(kind, round, JSON.stringify(held()));
}

// libuv takes work from the thread of its loop alone.
async function run(kind, path, onThreads) {
  const counts = new Int32Array(new SharedArrayBuffer(8));
  const so = SoHandle.open(path, definitions);
  const aside = SoHandle.open(path, {
    use: { ...definitions.use, nonblocking: true },
  });
  const before = loaded().length;
  for (let round = 1; round <= swaps; round++) {
    if (so.functions.use(counts) !== 1) fail(`${kind}: wrong value at ${round}`);
    if (so.functions.threads(counts, 2) !== 2) fail(`${kind}: wrong number of threads at ${round}`);
    if (onThreads && round % 10 === 0)
      await Promise.all([1, 2, 3].map(() => aside.functions.use(counts)));
    await so.swap({ order: round % 2 === 0 ? 'close-first' : 'open-first' });
    if (round % 10 === 0) await aside.swap();
    progress(kind, round, swaps);
  }
  await gone(before);
  so.close();
  aside.close();
  await gone(before - 2);
  const [made, destroyed] = counts;
  if (made !== destroyed) fail(`${kind}: ${made} values made, ${destroyed} destroyed`);
  console.log(kind, `${made} values made and destroyed`);
}

async function runInWorkers(kind, path) {
  const program = `
    const { workerData } = require('node:worker_threads');
    const { SoHandle } = require('soswap');
    const so = SoHandle.open(workerData.path, ${JSON.stringify(definitions)});
    for (let round = 0; round < 5; round++) {
      if (so.functions.use(workerData.counts) !== 1) throw new Error('wrong value');
      so.functions.threads(workerData.counts, 2);
      so.swapSync();
    }
    so.functions.use(workerData.counts);
  `;
  const counts = new Int32Array(new SharedArrayBuffer(8));
  for (let round = 0; round < Math.max(2, swaps / 100); round++) {
    const worker = new Worker(program, { eval: true, workerData: { path, counts } });
    await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
  }
  const so = SoHandle.open(path, definitions); // its swaps sweep what the workers have left
  await gone(1).catch(fail);
  so.close();
  if (counts[0] !== counts[1]) fail(`${kind} in workers: ${counts}`);
  console.log(kind, 'in workers', JSON.stringify(held()));
}

// 16 threads run at any time, and each ends within 20 ms.
async function runEnding(path) {
  const all = Math.max(10, Math.floor(swaps / 10));
  const counts = new Int32Array(new SharedArrayBuffer(12));
  const so = SoHandle.open(path, {
    start: { arguments: ['buffer', 'int32', 'int32'], return: 'int32' },
  });
  let most = 0;
  for (let round = 1; round <= all; round++) {
    if (so.functions.start(counts, 16 - (counts[0] - counts[1]), 200) !== 0) fail('no thread');
    await so.swap({ order: round % 2 === 0 ? 'close-first' : 'open-first' });
    most = Math.max(most, loaded().length);
    progress('random', round, all);
  }
  await gone(1);
  so.close();
  if (counts[0] !== counts[1]) fail(`random: ${counts[0]} threads started, ${counts[1]} ended`);
  if (counts[2] !== 0) fail(`random: ${counts[2]} threads found static data of another image`);
  console.log('random', `${counts[0]} threads started and ended, ${most} images at most`);
}

// The thread runs for as long as the process.
async function runEndless(path) {
  const counts = new Int32Array(new SharedArrayBuffer(12));
  const so = SoHandle.open(path, {
    start: { arguments: ['buffer', 'int32', 'int32'], return: 'int32' },
  });
  if (so.functions.start(counts, 1, -1) !== 0) fail('no thread');
  for (let round = 1; round <= swaps; round++) {
    await so.swap({ order: round % 2 === 0 ? 'close-first' : 'open-first' });
    if (loaded().length !== 2) fail(`endless: ${JSON.stringify(loaded())}`);
    progress('endless', round, swaps);
  }
  so.close();
  if (loaded().length !== 1) fail(`endless: ${JSON.stringify(loaded())}`);
}

for (const [kind, source] of Object.entries(kinds)) {
  if (values.only.length > 0 && !values.only.includes(kind)) continue;
  const path = join(directory, `${kind.replaceAll('+', 'x')}.so`);
  compile(source, path, ...(kind === 'rust' ? [] : ['-O2']));
  if (kind === 'random') await runEnding(path);
  else if (kind === 'endless')
    await runEndless(path); // the last: its image stays
  else {
    await run(kind, path, kind !== 'uv');
    if (kind !== 'uv') await runInWorkers(kind, path);
  }
}
process.exit();
