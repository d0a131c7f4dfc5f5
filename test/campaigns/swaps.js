// Swaps two builds back and forth, calls a function after each swap, and prints what the process holds.
//
//   npm run build
//   node --expose-gc --max-semi-space-size=1 test/campaigns/swaps.js
//   … test/campaigns/swaps.js --swaps 1000000 --order open-first
//   … test/campaigns/swaps.js --swaps 10000 --state
//
// With --state, the hooks of the library carry a counter and a kept variable over.
//
// Prints a line of figures at each tenth of the way, with --json all of them as one array at the end, in more detail.
// Exits with 1 at the first wrong value. SOSWAP_SNAPSHOT=file makes the private copies files instead of
// memory. --max-semi-space-size=1 keeps V8's young generation at its first size, which would otherwise
// grow in steps of megabytes.

import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { loaded, SoHandle } from 'soswap';
import { compile } from '../../fixtures/compile.js';
import { held } from '../../fixtures/held.js';

const { values } = parseArgs({
  options: {
    swaps: { type: 'string', default: '100000' },
    order: { type: 'string', default: 'close-first' },
    state: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const swaps = Number(values.swaps);
const { order } = values;

const directory = mkdtempSync(join(tmpdir(), 'soswap-swaps-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

const lines = [1111, 2222];
const builds = lines.map((line) =>
  compile(values.state ? 'hooks.c' : 'action.c', join(directory, `so${line}.so`), `-DLINE=${line}`),
);
const path = join(directory, 'so.so');

/** Makes `path` the build of this round, without writing a library anew. */
function flip(round) {
  symlinkSync(builds[round % 2], `${path}.next`);
  renameSync(`${path}.next`, path);
}

/** What this process holds, after the garbage of JavaScript is gone. */
async function sampled() {
  gc();
  await setImmediate(); // Node frees the native part of what was collected
  return {
    rssKiB: Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]),
    mappings: readFileSync('/proc/self/maps', 'utf8').trimEnd().split('\n').length,
    descriptors: readdirSync('/proc/self/fd').length,
    exact: { ...held(), images: loaded().length },
  };
}

flip(0);
const so = SoHandle.open(path, {
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
  count: { return: 'int32' },
  increment: { return: 'int32', optional: true },
  keep: { return: 'int32', optional: true },
});
const { quote, count, increment, keep } = so.functions;

let retained = 0;
const samples = [];
const started = process.hrtime.bigint();
const step = Math.max(1, Math.floor(swaps / 10));
for (let round = 1; round <= swaps; round++) {
  flip(round);
  if (!so.swapSync({ order }).unmapped) retained++;
  const expected = round % 2 === 0 ? 200 : 100;
  const [price, counted] = [quote(100, 2), count()];
  if (values.state && (increment() !== round || keep() !== round)) {
    console.error(`swap ${round}: the state was lost`);
    process.exit(1);
  }
  if (price !== expected || counted !== 1) {
    console.error(`swap ${round}: quote ${price} and count ${counted}, not ${expected} and 1`);
    process.exit(1);
  }
  if (round % step === 0) {
    const microseconds = Number(process.hrtime.bigint() - started) / 1000 / round;
    const sample = {
      swaps: round,
      retained,
      ...(await sampled()),
      microseconds: Math.round(microseconds),
    };
    samples.push(sample);
    if (!values.json) console.log(JSON.stringify({ ...sample, exact: undefined }));
  }
}
so.close();
if (values.json) console.log(JSON.stringify(samples));
