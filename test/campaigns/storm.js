// Two processes replace one library again and again, each in its own time and in every manner, while a handle of the main
// thread and one of a worker watch it and call it.
//
//   npm run build
//   node test/campaigns/storm.js
//   node test/campaigns/storm.js --replacements 5000
//
// Prints figures, with --json as one object. Exits with 1 if a call returned anything but what one of the two
// builds returns, or if a handle does not end on the file that is there at the end.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { inspect, SoHandle } from 'soswap';
import { compile } from '../../fixtures/compile.js';

const lines = [1111, 2222];
const patience = 30_000;

/** Replaces the file so many times; one of two processes. */
async function write(directory, name, replacements) {
  const path = join(directory, 'so.so');
  const next = join(directory, `next-${name}.so`);
  for (let round = 0; round < replacements; round++) {
    const build = join(directory, `so${lines[Math.floor(Math.random() * 2)]}.so`);
    if (Math.random() < 0.5) {
      copyFileSync(build, path);
    } else {
      copyFileSync(build, next);
      renameSync(next, path);
    }
    await sleep(Math.random() * 30);
  }
}

/**
 * Watches and calls the library until `ended()`, and then until it runs the file that is there. `watching` is called
 * when the watch has begun.
 */
async function callAndWatch(path, ended, watching = () => {}) {
  const so = SoHandle.open(path, {
    version: { return: 'string' },
    quote: { arguments: ['float64', 'uint32'], return: 'float64' },
  });
  const { version, quote } = so.functions;
  const seen = { swaps: 0, refused: 0, calls: 0, wrongValues: 0, current: false };
  so.on('swap', () => seen.swaps++);
  so.on('refused', () => seen.refused++);
  so.watch({ settle: 1, persistent: true });
  watching();
  const expected = { 'build 1111': 300, 'build 2222': 150 };
  const isCurrent = () => so.image.buildId === inspect(path).buildId;
  for (let deadline = Number.POSITIVE_INFINITY; performance.now() < deadline; ) {
    // No swap comes between two calls of one turn.
    for (let call = 0; call < 100; call++) {
      seen.calls += 2;
      if (quote(100, 3) !== expected[version()]) seen.wrongValues++;
    }
    await nextTurn();
    if (!ended()) continue;
    if (deadline === Number.POSITIVE_INFINITY) deadline = performance.now() + patience;
    seen.current = isCurrent();
    if (seen.current) break;
  }
  so.close();
  return seen;
}

async function conduct({ replacements, json }) {
  const directory = mkdtempSync(join(tmpdir(), 'soswap-storm-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

  for (const line of lines) {
    compile('action.c', join(directory, `so${line}.so`), `-DLINE=${line}`);
  }
  const path = join(directory, 'so.so');
  copyFileSync(join(directory, 'so1111.so'), path);

  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { path } });
  await once(worker, 'message'); // it watches
  const workerSeen = new Promise((resolve, reject) => {
    worker.on('message', resolve).on('error', reject);
  });
  const started = performance.now();
  const shares = [Math.floor(replacements / 2), Math.ceil(replacements / 2)];
  const writers = shares.map(
    (share, name) =>
      new Promise((resolve) => {
        const args = [fileURLToPath(import.meta.url), '--writer', `${name}`];
        const options = ['--directory', directory, '--replacements', `${share}`];
        const writer = spawn(process.execPath, [...args, ...options], { stdio: 'inherit' });
        process.on('exit', () => writer.kill());
        writer.on('close', resolve);
      }),
  );
  let over = false;
  const codes = Promise.all(writers).then((codes) => {
    copyFileSync(join(directory, 'so2222.so'), path); // so that each handle has one swap to make at least
    over = true;
    worker.postMessage('over');
    return codes;
  });
  const seen = await callAndWatch(path, () => over);
  const inWorker = await workerSeen;
  const figures = {
    replacements,
    swaps: seen.swaps,
    workerSwaps: inWorker.swaps,
    refused: seen.refused + inWorker.refused,
    calls: seen.calls + inWorker.calls,
    wrongValues: seen.wrongValues + inWorker.wrongValues,
    current: seen.current && inWorker.current,
    seconds: Math.round(performance.now() - started) / 1000,
  };
  if (json) console.log(JSON.stringify(figures));
  else console.table(figures);
  const written = (await codes).every((code) => code === 0);
  process.exitCode = figures.wrongValues === 0 && figures.current && written ? 0 : 1;
}

if (isMainThread) {
  const { values } = parseArgs({
    options: {
      replacements: { type: 'string', default: '500' },
      json: { type: 'boolean', default: false },
      writer: { type: 'string' },
      directory: { type: 'string' },
    },
  });
  const replacements = Number(values.replacements);
  if (values.writer !== undefined) await write(values.directory, values.writer, replacements);
  else await conduct({ ...values, replacements });
} else {
  let over = false;
  parentPort.once('message', () => {
    over = true;
  });
  const watching = () => parentPort.postMessage('watching');
  parentPort.postMessage(await callAndWatch(workerData.path, () => over, watching));
}
