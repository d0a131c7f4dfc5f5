// One process that swaps a library in one way and times it:  contender.js NAME SETUP LIMIT
//
// A line of JSON on standard input is a request, answered by a line on standard output:
//   { "swaps": 20 }      answered by one [pause, total, held, told] in nanoseconds for each swap
//   { "endure": 20 }     swaps as often; answered by what the process holds then
//   { "load": 2000, "swap": true }
//                        calls all the time for so many milliseconds, and swaps meanwhile
//
// Every swap's effect is looked at; what does not take effect ends the process.

import { linkSync, openSync, readdirSync, readFileSync, readSync, renameSync } from 'node:fs';
import { createHistogram } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Definition, Definitions, SwapOptions, SwapReport } from 'soswap';

const firstValue = 1001;

/**
 * The longest turn of the event loop, the time from the call to its end, all turns, and what soswap says of the first.
 */
type Times = [pause: number, total: number, held: number, told: number | null];

interface Setup {
  readonly path: string;
  readonly next: string;
  readonly versions: readonly string[];
  /** Whether the first symbol is a function, not a word of data. */
  readonly calls: boolean;
  readonly symbols: readonly string[];
  /** Libraries that are open besides. */
  readonly others: readonly string[];
  /** The names of the library's dependencies. */
  readonly needed: readonly string[];
}

/** A way to swap. */
interface Way {
  /** Makes the file at the path take effect. */
  swap(): unknown;
  /** What the first symbol says now. */
  value(): number;
}

function readSetup(file: string): Setup {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const all = (key: string) =>
    lines.filter((line) => line.startsWith(`${key} `)).map((line) => line.slice(key.length + 1));
  return {
    path: all('path')[0]!,
    next: all('next')[0]!,
    versions: all('version'),
    calls: all('kind')[0] === 'call',
    symbols: all('symbol'),
    others: all('other'),
    needed: all('needed'),
  };
}

const [name, setupFile, limitLibrary] = process.argv.slice(2) as [string, string, string];
const setup = readSetup(setupFile);
const { path, symbols, others } = setup;
const marker = symbols[0]!;

let memory: number | undefined;
/** For data, which no function of a library gives out. */
function wordAt(address: bigint): number {
  memory ??= openSync('/proc/self/mem', 'r');
  const word = Buffer.alloc(4);
  readSync(memory, word, 0, word.length, address);
  return word.readInt32LE();
}

const dl = await import('soswap/dl');
// The dependencies stay loaded whatever becomes of the library. libz3 for one binds to what libLLVM exports, and would
// keep it mapped; and Node.js has libm loaded, while C would load it at each swap.
for (const each of setup.needed) dl.dlopen(each);

/** Of turns.c. */
const program = dl.dlopen(null);
const turnsFunction = <const S extends Definition>(name: string, signature: S) =>
  dl.functionAt(dl.dlsym(program, name), signature);
const turns = {
  begin: turnsFunction('turns_begin', {}),
  end: turnsFunction('turns_end', { arguments: ['buffer'] }),
};
const seen = new Float64Array(2);

/** Reads the data that the loader has under the path. */
function readData(): number {
  const handle = dl.dlopen(path, dl.constants.RTLD_NOW | dl.constants.RTLD_NOLOAD);
  const value = wordAt(dl.dlsym(handle, marker));
  dl.dlclose(handle);
  return value;
}

async function soswap(sync: boolean, options: SwapOptions): Promise<Way> {
  const { SoHandle } = await import('soswap');
  const definitions = Object.fromEntries(symbols.map((symbol) => [symbol, { return: 'int32' }]));
  // libLLVM could start threads, but nobody has it do so.
  const open = (each: string, functions: Definitions) =>
    SoHandle.open(each, functions, { unload: 'always' });
  const kept = others.map((each) => open(each, {}));
  const so = open(path, definitions as Definitions);
  process.on('exit', () => kept.length);
  const functions = so.functions as Record<string, () => number>;
  return {
    swap: () => (sync ? so.swapSync(options) : so.swap(options)),
    value: setup.calls ? () => functions[marker]!() : () => wordAt(so.getSymbol(marker)),
  };
}

async function koffiWay(): Promise<Way> {
  const { default: koffi } = await import('koffi');
  const kept = others.map((each) => koffi.load(each));
  let library = koffi.load(path);
  const bind = () => symbols.map((symbol) => library.func(symbol, 'int', []));
  let functions = bind();
  process.on('exit', () => kept.length);
  return {
    swap() {
      library.unload();
      library = koffi.load(path);
      functions = bind();
    },
    value: () => (setup.calls ? functions[0]!() : readData()),
  };
}

async function ffiRs(): Promise<Way> {
  const { DataType, close, define, open } = await import('ffi-rs');
  for (const each of others) open({ library: each, path: each });
  const signatures = Object.fromEntries(
    symbols.map((symbol) => [symbol, { library: 'it', retType: DataType.I32, paramsType: [] }]),
  );
  type Functions = Record<string, (values: unknown[]) => number>;
  open({ library: 'it', path });
  let functions = define(signatures) as Functions;
  return {
    swap() {
      close('it');
      open({ library: 'it', path });
      functions = define(signatures) as Functions;
    },
    value: () => (setup.calls ? functions[marker]!([]) : readData()),
  };
}

interface NodeFfi {
  dlopen(
    path: string,
    definitions: object,
  ): { lib: { close(): void }; functions: Record<string, () => number> };
}

async function nodeFfi(): Promise<Way> {
  const ffi = process.getBuiltinModule('node:ffi' as 'node:fs') as unknown as NodeFfi;
  const definitions = Object.fromEntries(symbols.map((symbol) => [symbol, { return: 'int32' }]));
  const kept = others.map((each) => ffi.dlopen(each, {}));
  let opened = ffi.dlopen(path, definitions);
  process.on('exit', () => kept.length);
  return {
    swap() {
      opened.lib.close();
      opened = ffi.dlopen(path, definitions);
    },
    value: () => (setup.calls ? opened.functions[marker]!() : readData()),
  };
}

/** The limit inside of this process: what the C program does, in C, beside everything that Node.js has loaded. */
async function limitInside(): Promise<Way> {
  const limit = dl.dlopen(limitLibrary);
  const at = (symbol: string) => dl.dlsym(limit, symbol);
  dl.functionAt(at('read_setup'), { arguments: ['string'] })(setupFile);
  dl.functionAt(at('open_first'), {})();
  const swapOnce = dl.functionAt(at('swap_once'), { return: 'uint64' });
  const value = dl.functionAt(at('value'), { return: 'int32' });
  return { swap: () => Number(swapOnce()), value };
}

const ways: Record<string, () => Promise<Way>> = {
  'C in Node.js': limitInside,
  swapSync: () => soswap(true, {}),
  'swapSync open-first': () => soswap(true, { order: 'open-first' }),
  swap: () => soswap(false, {}),
  'swap open-first': () => soswap(false, { order: 'open-first' }),
  koffi: koffiWay,
  'ffi-rs': ffiRs,
  'node:ffi': nodeFfi,
};

let version = 0;
/** rename(2) does nothing where both are names of one file: so always by the other version. */
function replace(by: number): void {
  version = by;
  linkSync(setup.versions[by]!, setup.next);
  renameSync(setup.next, path);
}

function check(way: Way): void {
  const value = way.value();
  if (value !== firstValue + version) {
    throw new Error(`${name}: the code is not that of the new file: ${value}`);
  }
}

const turnEnds = () => new Promise<void>((resolve) => setImmediate(resolve));

function toldBy(report: unknown): number | null {
  return report === undefined ? null : (report as SwapReport).pauseMicroseconds * 1000;
}

async function timed(way: Way): Promise<Times> {
  replace(1 - version);
  await turnEnds();
  turns.begin();
  const started = performance.now();
  const report = await way.swap();
  const ended = performance.now();
  turns.end(seen);
  check(way);
  // It has timed itself.
  if (typeof report === 'number') return [report, report, report, null];
  return [seen[0]!, Math.round((ended - started) * 1e6), seen[1]!, toldBy(report)];
}

/** What this process has, after the garbage of JavaScript is gone. */
async function held() {
  globalThis.gc?.();
  await turnEnds(); // Node.js frees the native part of what was collected
  // V8's heap grows and shrinks in steps of megabytes.
  const { rss, heapTotal } = process.memoryUsage();
  return {
    residentKiB: Math.round(rss / 1024),
    outsideHeapKiB: Math.round((rss - heapTotal) / 1024),
    descriptors: readdirSync('/proc/self/fd').length,
    mappings: readFileSync('/proc/self/maps', 'utf8').trimEnd().split('\n').length,
  };
}

async function endure(way: Way, swaps: number) {
  for (let swap = 0; swap < swaps; swap++) {
    replace(1 - version);
    await way.swap();
    check(way);
    if (swap % 100 === 0) await turnEnds();
  }
  return held();
}

/** Makes calls in every turn of the event loop, and sees how far apart the turns are: microseconds. */
async function underLoad(way: Way, milliseconds: number, swapping: boolean) {
  const delays = createHistogram();
  const end = performance.now() + milliseconds;
  let calls = 0;
  let swaps = 0;
  const swapAgain = async () => {
    while (swapping && performance.now() < end) {
      await sleep(2);
      replace(1 - version);
      await way.swap();
      check(way);
      swaps++;
    }
  };
  const swapped = swapAgain();
  for (let last = performance.now(); last < end; ) {
    for (let call = 0; call < 100; call++) way.value();
    calls += 100;
    await turnEnds();
    const now = performance.now();
    delays.record(Math.max(1, Math.round((now - last) * 1e6)));
    last = now;
  }
  await swapped;
  const [middle, most, nearlyAll] = [50, 99, 99.9].map((it) => delays.percentile(it) / 1000);
  return { calls, swaps, middle, most, nearlyAll, longest: delays.max / 1000 };
}

/** One of the first three. */
interface Request {
  readonly swaps?: number;
  readonly endure?: number;
  readonly load?: number;
  readonly swap?: boolean;
}

async function answer(way: Way, { swaps, endure: many, load, swap = false }: Request) {
  if (load !== undefined) return underLoad(way, load, swap);
  if (many !== undefined) return endure(way, many);
  const times: Times[] = [];
  while (times.length < swaps!) times.push(await timed(way));
  return times;
}

replace(0);
const way = await ways[name]!();
check(way);
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(way, JSON.parse(line))));
}
