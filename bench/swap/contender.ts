// One process that swaps a library in one way and times it:  contender.js NAME SETUP
//
// A line of JSON on standard input is a request, answered by a line on standard output:
//   { "swaps": 20 }    answered by one [pause, total, held, told] in nanoseconds for each swap
//
// Every swap's effect is looked at; what does not take effect ends the process.

import { linkSync, openSync, readFileSync, readSync, renameSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Definitions, SwapOptions, SwapReport } from 'soswap';

const firstValue = 1001;

/**
 * The longest time that the main thread was held at a stretch, the time from the call to its end, the time that the main
 * thread was held in all, and what soswap says of the first.
 */
type Times = [pause: number, total: number, held: number, told: number | null];

interface Setup {
  readonly path: string;
  readonly next: string;
  readonly versions: readonly string[];
  /** Whether the first symbol is a function, not a word of data. */
  readonly calls: boolean;
  readonly symbols: readonly string[];
  readonly others: readonly string[];
}

/** A way to swap. */
interface Way {
  /** Makes the file at the path take effect. */
  swap(): unknown;
  /** Whether it does so in several turns of the event loop: the result is a promise. */
  readonly inTurns?: boolean;
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
  };
}

const [name, setupFile] = process.argv.slice(2) as [string, string];
const setup = readSetup(setupFile);
const { path, symbols, others } = setup;
const marker = symbols[0]!;

let memory: number | undefined;
function wordAt(address: bigint): number {
  memory ??= openSync('/proc/self/mem', 'r');
  const word = Buffer.alloc(4);
  readSync(memory, word, 0, word.length, address);
  return word.readInt32LE();
}

/** Reads the data that the loader has under the path. */
async function dataReader(): Promise<() => number> {
  const { constants, dlclose, dlopen, dlsym } = await import('soswap/dl');
  return () => {
    const handle = dlopen(path, constants.RTLD_NOW | constants.RTLD_NOLOAD);
    const value = wordAt(dlsym(handle, marker));
    dlclose(handle);
    return value;
  };
}

async function soswap(sync: boolean, options: SwapOptions): Promise<Way> {
  const { SoHandle } = await import('soswap');
  const definitions = Object.fromEntries(symbols.map((symbol) => [symbol, { return: 'int32' }]));
  // The process may not outlive a thread of the library, but none is ever started.
  const open = (each: string, functions: Definitions) =>
    SoHandle.open(each, functions, { unload: 'always' });
  const kept = others.map((each) => open(each, {}));
  const so = open(path, definitions as Definitions);
  process.on('exit', () => kept.length);
  const functions = so.functions as Record<string, () => number>;
  return {
    inTurns: !sync,
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
  const read = setup.calls ? undefined : await dataReader();
  return {
    swap() {
      library.unload();
      library = koffi.load(path);
      functions = bind();
    },
    value: read ?? (() => functions[0]!()),
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
  const read = setup.calls ? undefined : await dataReader();
  return {
    swap() {
      close('it');
      open({ library: 'it', path });
      functions = define(signatures) as Functions;
    },
    value: read ?? (() => functions[marker]!([])),
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
  const read = setup.calls ? undefined : await dataReader();
  return {
    swap() {
      opened.lib.close();
      opened = ffi.dlopen(path, definitions);
    },
    value: read ?? (() => opened.functions[marker]!()),
  };
}

const ways: Record<string, () => Promise<Way>> = {
  swapSync: () => soswap(true, {}),
  'swapSync open-first': () => soswap(true, { order: 'open-first' }),
  swap: () => soswap(false, {}),
  'swap open-first': () => soswap(false, { order: 'open-first' }),
  koffi: koffiWay,
  'ffi-rs': ffiRs,
  'node:ffi': nodeFfi,
};

let version = 0;
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

const nanoseconds = (milliseconds: number) => Math.round(milliseconds * 1e6);
const turnEnds = () => new Promise<void>((resolve) => setImmediate(resolve));

/** The longest turn of the event loop until the promise is settled, in milliseconds. */
async function longestTurn(begin: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let ended = false;
  const turn = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!ended) setImmediate(turn);
  };
  setImmediate(turn);
  await begin();
  await turnEnds(); // the turn in which it ended is a turn too
  ended = true;
  return longest;
}

/** A turn of the event loop in which nothing happens: half of them take longer. Milliseconds. */
async function idleTurn(): Promise<number> {
  const turns: number[] = [];
  for (let last = performance.now(); turns.length < 101; ) {
    await turnEnds();
    const now = performance.now();
    turns.push(now - last);
    last = now;
  }
  return turns.toSorted((a, b) => a - b)[turns.length >> 1]!;
}

function toldBy(report: unknown): number | null {
  return report === undefined ? null : (report as SwapReport).pauseMicroseconds * 1000;
}

/** Swaps once, and has what it cost measured. */
async function swapOnce<T>(way: Way, measure: () => Promise<T>): Promise<T> {
  replace(1 - version);
  await turnEnds();
  const measured = await measure();
  check(way);
  return measured;
}

async function timed(way: Way, idle: number): Promise<Times> {
  if (!way.inTurns) {
    return swapOnce(way, async () => {
      const started = performance.now();
      const report = way.swap();
      const took = nanoseconds(performance.now() - started);
      return [took, took, took, toldBy(report)];
    });
  }
  const swap = () => way.swap() as Promise<SwapReport>;
  // A thread that goes round and round sees how long it is held, but takes a processor from the swap: so twice.
  const pause = await swapOnce(way, async () => (await longestTurn(swap)) - idle);
  return swapOnce(way, async () => {
    const before = performance.eventLoopUtilization();
    const started = performance.now();
    const report = await swap();
    const total = performance.now() - started;
    const { active } = performance.eventLoopUtilization(before);
    const times = [Math.max(0, pause), total, active].map(nanoseconds) as [number, number, number];
    return [...times, toldBy(report)];
  });
}

async function swaps(way: Way, count: number): Promise<Times[]> {
  const idle = await idleTurn();
  const times: Times[] = [];
  while (times.length < count) times.push(await timed(way, idle));
  return times;
}

replace(0);
const way = await ways[name]!();
check(way);
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as { swaps: number };
  console.log(JSON.stringify(await swaps(way, request.swaps)));
}
