// Workers that swap in a loop while the path of the library gets another hard link every few milliseconds, link(2) and
// rename(2), as cargo, pnpm and rsync --link-dest replace files. No swap may be refused, and each runs a whole build.
//
//   npm run build && node test/campaigns/links.js
//   node test/campaigns/links.js --workers 4 --seconds 10 --every 1
//
// Prints figures, with --json as one object. Exits with 1 at the first refusal.

import { linkSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { SoHandle } from 'soswap';
import { compile } from '../../fixtures/compile.js';

if (isMainThread) await main();
else await work(workerData);

async function main() {
  const { values } = parseArgs({
    options: {
      workers: { type: 'string', default: '8' },
      seconds: { type: 'string', default: '60' },
      every: { type: 'string', default: '3' },
      json: { type: 'boolean', default: false },
    },
  });
  const directory = mkdtempSync(join(tmpdir(), 'soswap-links-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  const builds = [1111, 2222].map((line) =>
    compile('action.c', join(directory, `so${line}.so`), `-DLINE=${line}`),
  );
  const path = join(directory, 'so.so');
  let flips = 0;
  const flip = () => {
    linkSync(builds[flips++ % 2], `${path}.next`);
    renameSync(`${path}.next`, path);
  };
  flip();
  const flipping = setInterval(flip, Number(values.every));
  const jobs = Array.from({ length: Number(values.workers) }, () =>
    runWorker({ path, milliseconds: 1000 * Number(values.seconds) }),
  );
  const done = await Promise.all(jobs);
  clearInterval(flipping);
  const sum = (name) => done.reduce((total, figures) => total + figures[name], 0);
  const figures = { workers: done.length, flips, swaps: sum('swaps'), refused: sum('refused') };
  console.log(values.json ? JSON.stringify(figures) : figures);
  if (figures.refused > 0) process.exitCode = 1;
}

function runWorker(data) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: data });
    worker.on('message', resolve);
    worker.on('error', reject);
  });
}

async function work({ path, milliseconds }) {
  const so = SoHandle.open(path, { version: { return: 'string' } });
  const figures = { swaps: 0, refused: 0 };
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    try {
      if (figures.swaps % 2 === 0) so.swapSync();
      else await so.swap();
      figures.swaps++;
    } catch (error) {
      if (figures.refused++ === 0) console.error(error);
    }
    if (!/^build (1111|2222)$/.test(so.functions.version())) throw new Error('wrong code');
    await setImmediate();
  }
  so.close();
  parentPort.postMessage(figures);
}
