// Swaps under a loop that V8 has compiled: the loop calls for about a millisecond, then comes a swap to the other build, with
// both orders in turn, and the next call must run it. A wrong value would be a call of code that is gone.
//
//   npm run build
//   node test/campaigns/hot-loop.js
//   node test/campaigns/hot-loop.js --seconds 600
//
// Prints figures, with --json as one object. Exits with 1 if a value was wrong.

import { copyFileSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SoHandle } from 'soswap';
import { compile } from '../../fixtures/compile.js';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    json: { type: 'boolean', default: false },
  },
});
const directory = mkdtempSync(join(tmpdir(), 'soswap-hot-loop-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

const builds = [
  { line: 1111, price: 300 },
  { line: 2222, price: 150 },
].map(({ line, price }) => {
  const path = join(directory, `so${line}.so`);
  compile('action.c', path, `-DLINE=${line}`);
  return { path, price };
});
const path = join(directory, 'so.so');
const replace = (build) => {
  copyFileSync(build.path, `${path}.new`);
  renameSync(`${path}.new`, path);
};
replace(builds[0]);
const so = SoHandle.open(path, {
  quote: { arguments: ['float64', 'uint32'], return: 'float64', leaf: true },
});
const { quote } = so.functions;

/** Calls for a millisecond, and returns the number of calls; a wrong value is counted. */
function call(expected) {
  const end = performance.now() + 1;
  let calls = 0;
  do {
    for (let n = 0; n < 1000; n++) if (quote(100, 3) !== expected) figures.wrongValues++;
    calls += 1000;
  } while (performance.now() < end);
  return calls;
}

const figures = { swaps: 0, calls: 0, wrongValues: 0, seconds: 0 };
const began = performance.now();
for (let ended = false; !ended; ) {
  const build = builds[(figures.swaps + 1) % 2];
  replace(build);
  so.swapSync({ order: figures.swaps % 4 < 2 ? 'close-first' : 'open-first' });
  figures.swaps++;
  figures.calls += call(build.price);
  figures.seconds = Math.round(performance.now() - began) / 1000;
  ended = figures.seconds >= Number(values.seconds);
}
so.close();
console.log(values.json ? JSON.stringify(figures) : figures);
process.exitCode = figures.wrongValues === 0 ? 0 : 1;
