// Worker threads, each with a handle of its own on one path, which all of them replace and swap as they like.
// Every value is checked after every swap against what the build of the image says.
//
//   npm run build && node --expose-gc test/campaigns/workers.js
//   node --expose-gc test/campaigns/workers.js --workers 4 --swaps 50
//
// Prints figures, with --json as one object. Exits with 1 at the first wrong value.

import { mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, threadId, Worker, workerData } from 'node:worker_threads';
import { loaded, SoHandle } from 'soswap';
import { compile } from '../../fixtures/compile.js';
import { held, holdsCopies, startPool } from '../../fixtures/held.js';
import { until } from '../../fixtures/until.js';

const definitions = {
  count: { return: 'int32' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
  version: { return: 'string' },
};

if (isMainThread) await main();
else await work(workerData);

async function main() {
  const { values } = parseArgs({
    options: {
      workers: { type: 'string', default: '16' },
      swaps: { type: 'string', default: '1000' },
      json: { type: 'boolean', default: false },
    },
  });
  const directory = mkdtempSync(join(tmpdir(), 'soswap-workers-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  const builds = [1111, 2222].map((line) =>
    compile('gate.c', join(directory, `so${line}.so`), `-DLINE=${line}`),
  );
  const path = join(directory, 'so.so');
  symlinkSync(builds[0], path);
  const lines = Object.fromEntries(
    builds.map((build, index) => [buildIdOf(build), [1111, 2222][index]]),
  );

  await startPool();
  const before = await sampled();
  const started = process.hrtime.bigint();
  const jobs = Array.from({ length: Number(values.workers) }, () =>
    runWorker({ path, builds, lines, swaps: Number(values.swaps) }),
  );
  const done = await Promise.all(jobs);
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  await until('the private copies are gone', () => !holdsCopies());
  const pauses = done.flatMap(({ pauses }) => pauses).sort((a, b) => a - b);
  const figures = {
    workers: done.length,
    swaps: pauses.length,
    swapped: done.reduce((sum, { changed }) => sum + changed, 0),
    calls: done.reduce((sum, { calls }) => sum + calls, 0),
    unmapped: done.reduce((sum, { unmapped }) => sum + unmapped, 0),
    seconds: Math.round(seconds * 10) / 10,
    pauseMicroseconds: {
      median: Math.round(pauses[Math.floor(pauses.length / 2)]),
      p99: Math.round(pauses[Math.floor(pauses.length * 0.99)]),
    },
    before,
    after: await sampled(),
  };
  if (values.json) console.log(JSON.stringify(figures));
  else console.dir(figures, { depth: 4 });
}

function runWorker(data) {
  return new Promise((resolve, reject) => {
    let figures;
    new Worker(fileURLToPath(import.meta.url), { workerData: data, execArgv: [], argv: [] })
      .on('message', (message) => {
        figures = message;
      })
      .on('error', reject)
      .on('exit', () => resolve(figures));
  });
}

/** One worker: swaps, and checks. */
async function work({ path, builds, lines, swaps }) {
  const so = SoHandle.open(path, definitions);
  const { count, pass, quote, version } = so.functions;
  const gate = new Int32Array(new SharedArrayBuffer(8));
  gate[1] = 1; // open
  const figures = { pauses: [], calls: 0, changed: 0, unmapped: 0 };
  let line = lines[so.image.buildId];
  for (let round = 1; round <= swaps; round++) {
    const inFlight = [pass(gate), pass(gate)];
    const before = line;
    symlinkSync(builds[round % 2], `${path}.${threadId}`);
    renameSync(`${path}.${threadId}`, path);

    const order = round % 3 === 0 ? 'open-first' : 'close-first';
    let report;
    if (round % 5 === 0) {
      check(round, await Promise.all(inFlight), [before, before]);
      report = so.swapSync({ order });
    } else {
      report = await so.swap({ order });
      check(round, await Promise.all(inFlight), [before, before]);
    }
    // Another worker may have put another build there: the report says which one was taken.
    line = lines[report.current.buildId];
    const seen = [version(), count(), count(), quote(100, 2), await pass(gate)];
    check(round, seen, [`build ${line}`, 1, 2, line === 1111 ? 200 : 100, line]);
    figures.calls += seen.length + inFlight.length;
    figures.pauses.push(report.pauseMicroseconds);
    if (line !== before) figures.changed++;
    if (report.unmapped) figures.unmapped++;
  }
  so.close();
  parentPort.postMessage(figures);
}

function check(round, seen, expected) {
  if (JSON.stringify(seen) === JSON.stringify(expected)) return;
  throw new Error(
    `worker ${threadId}, swap ${round}: ${JSON.stringify(seen)}, not ${JSON.stringify(expected)}`,
  );
}

/** What this process holds. */
async function sampled() {
  globalThis.gc?.();
  await setImmediate();
  return { ...held(), images: loaded().length };
}

function buildIdOf(path) {
  const so = SoHandle.open(path);
  const { buildId } = so.image;
  so.close();
  return buildId;
}
