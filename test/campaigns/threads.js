// Swaps libraries that start threads and leave destructors to the end of threads, and prints what the process holds.
//
//   npm run build
//   node --expose-gc test/campaigns/threads.js            10,000 swaps of each
//   … test/campaigns/threads.js --swaps 300 --only rust
//
// Exits with 1 at the first wrong value, if an old image stays, or if a destructor has not run exactly once. Needs rustc.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { loaded, SoHandle } from 'soswap';
import { compile } from '../../fixtures/compile.js';

const { values } = parseArgs({
  options: {
    swaps: { type: 'string', default: '10000' },
    only: { type: 'string', default: '' },
  },
});
const swaps = Number(values.swaps);
const directory = mkdtempSync(join(tmpdir(), 'soswap-threads-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const kinds = { rust: 'retain/counted.rs', 'c++': 'retain/counted.cc', c: 'retain/counted.c' };

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

async function run(kind, path) {
  const counts = new Int32Array(new SharedArrayBuffer(8));
  const so = SoHandle.open(path, definitions);
  const aside = SoHandle.open(path, {
    use: { ...definitions.use, nonblocking: true },
  });
  const before = loaded().length;
  for (let round = 1; round <= swaps; round++) {
    if (so.functions.use(counts) !== 1) fail(`${kind}: wrong value at ${round}`);
    if (so.functions.threads(counts, 2) !== 2) fail(`${kind}: wrong number of threads at ${round}`);
    if (round % 10 === 0) await Promise.all([1, 2, 3].map(() => aside.functions.use(counts)));
    await so.swap({ order: round % 2 === 0 ? 'close-first' : 'open-first' });
    if (round % 10 === 0) await aside.swap();
    if (round % Math.max(1, Math.floor(swaps / 10)) === 0) {
      globalThis.gc?.();
      console.log(kind, round, JSON.stringify(held()));
    }
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

for (const [kind, source] of Object.entries(kinds)) {
  if (values.only !== '' && values.only !== kind) continue;
  const path = join(directory, `${kind.replaceAll('+', 'x')}.so`);
  compile(source, path, ...(kind === 'rust' ? [] : ['-O2']));
  await run(kind, path);
  await runInWorkers(kind, path);
}
