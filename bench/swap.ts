// What a swap costs. `npm run bench -- swap --help` tells more.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, constants, cpus, loadavg, release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { copies, generated, installed, type Library, patched, pathOf } from './swap/libraries.js';
import { type Contender, limitName, Programs, type SwapTimes } from './swap/processes.js';
import { median, type Spread, spread } from './swap/statistics.js';

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    help: { type: 'boolean', default: false },
  },
});
const rounds = options.quick ? 5 : 15;

const root = fileURLToPath(new URL('..', import.meta.url));
mkdirSync(join(root, 'build'), { recursive: true });
const directory = mkdtempSync(join(root, 'build', 'bench-swap-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(128 + constants.signals[signal]));
}

const contenders = [
  limitName,
  'C in Node.js',
  'swapSync',
  'swapSync open-first',
  'swap',
  'swap open-first',
  'koffi',
  'ffi-rs',
  ...(process.getBuiltinModule?.('node:ffi' as 'node:fs') === undefined ? [] : ['node:ffi']),
];

interface Case {
  readonly name: string;
  readonly library: () => Library;
  readonly functions: number;
  readonly handles: number;
}

function casesOf(library: () => Library, name: string, functions: number[], handles = [1]): Case[] {
  return functions.flatMap((bound) =>
    handles.map((open) => ({
      name: `${name}, ${bound} functions, ${open} handles`,
      library,
      functions: bound,
      handles: open,
    })),
  );
}

/** Made when it is first asked for, and once. */
function once(make: () => Library): () => Library {
  let made: Library | undefined;
  return () => (made ??= make());
}

const tinyOnes = new Map([1, 100, 10_000].map((n) => [n, once(() => generated(directory, n))]));
const tiny = (functions: number) => tinyOnes.get(functions)!();
const cases: Case[] = [
  ...[...tinyOnes].flatMap(([count, library]) => casesOf(library, 'tiny', [count])),
  ...casesOf(() => tiny(1), 'tiny', [1], [10, 100, 1000]),
];
for (const library of installed) {
  const path = pathOf(library);
  if (path === undefined) {
    console.error(`${library.name} is not installed, and is left out`);
    continue;
  }
  const functions = library.name === 'libicudata' ? [1] : [1, 100];
  cases.push(
    ...casesOf(
      once(() => patched(directory, library, path)),
      library.name,
      functions,
    ),
  );
}

interface Result {
  readonly name: string;
  readonly bytes: number;
  readonly functions: number;
  readonly handles: number;
  readonly contenders: Record<string, Measured>;
}

interface Measured {
  /** Microseconds. */
  readonly pause: Spread;
  readonly total: Spread;
  readonly held: Spread;
  readonly told: number | null;
  /** Times what C takes: the median of all rounds. */
  readonly pauseRatio: Spread;
  readonly totalRatio: Spread;
}

/** How long one contender swaps before the next has its turn, in nanoseconds. */
const turn = 20e6;

async function measure(each: Case, programs: Programs): Promise<Result> {
  const library = each.library();
  const others = copies(tiny(1), directory, each.handles - 1);
  const place = mkdtempSync(join(directory, 'case-'));
  const running: Contender[] = [];
  const seen = new Map<string, SwapTimes[][]>();
  try {
    for (const name of contenders) {
      const setup = { library, functions: each.functions, others };
      running.push(await programs.start(name, setup, place));
      seen.set(name, []);
    }
    const counts = new Map<string, number>();
    for (const contender of running) {
      const times = (await contender.swap(3)).map(({ total }) => total);
      const count = Math.floor(turn / Math.min(...times));
      counts.set(contender.name, Math.min(50, Math.max(1, count)));
    }
    for (let round = 0; round < rounds; round++) {
      for (const contender of running) {
        seen.get(contender.name)!.push(await contender.swap(counts.get(contender.name)!));
      }
    }
  } finally {
    for (const contender of running) await contender.end();
  }
  const limit = seen.get(limitName)!.map((round) => median(round.map(({ total }) => total)));
  const measured = [...seen].map(([name, all]): [string, Measured] => {
    const of = (key: 'pause' | 'total' | 'held') =>
      all.map((round) => median(round.map((it) => it[key])));
    const told = all.flat().flatMap((it) => (it.told === null ? [] : [it.told / 1000]));
    const [pauses, totals] = [of('pause'), of('total')];
    return [
      name,
      {
        pause: spread(pauses.map((time) => time / 1000)),
        total: spread(totals.map((time) => time / 1000)),
        held: spread(of('held').map((time) => time / 1000)),
        told: told.length > 0 ? median(told) : null,
        pauseRatio: spread(pauses.map((time, round) => time / limit[round]!)),
        totalRatio: spread(totals.map((time, round) => time / limit[round]!)),
      },
    ];
  });
  const { name, functions, handles } = each;
  const { bytes } = library;
  return { name, bytes, functions, handles, contenders: Object.fromEntries(measured) };
}

function print({ name, bytes, contenders: all }: Result): void {
  console.log(`\n${name}, ${bytes} bytes`);
  const cell = ({ median, low, high }: Spread, ratio: Spread) =>
    `${median.toFixed(1)} (${low.toFixed(1)}–${high.toFixed(1)}) ×${ratio.median.toFixed(2)}`;
  for (const [contender, it] of Object.entries(all)) {
    console.log(
      `${contender.padEnd(20)} pause ${cell(it.pause, it.pauseRatio).padEnd(34)} total ` +
        `${cell(it.total, it.totalRatio).padEnd(34)} held ${it.held.median.toFixed(1)} ` +
        (it.told === null ? '' : `told ${it.told.toFixed(1)}`),
    );
  }
}

const programs = new Programs(directory);
const matching = cases.filter(
  ({ name }) => options.only.length === 0 || options.only.some((part) => name.includes(part)),
);
console.log(`Node.js ${process.version}, ${cpus()[0]?.model} × ${availableParallelism()},`);
console.log(`Linux ${release()}, load ${loadavg()[0]?.toFixed(2)}; microseconds, and × C`);
for (const each of matching) {
  console.error(`… ${each.name}`);
  print(await measure(each, programs));
}
