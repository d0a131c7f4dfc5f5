// What there is to know beside the time of one swap.

import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import type { Library } from './libraries.js';
import type { Programs } from './processes.js';
import { type Spread, spread } from './statistics.js';

/** How far apart the turns of an event loop are that makes calls all the time, in microseconds. */
export interface Delays {
  readonly calls: number;
  readonly swaps: number;
  /** Half of the turns are further apart, one in a hundred, one in a thousand, and none. */
  readonly middle: number;
  readonly most: number;
  readonly nearlyAll: number;
  readonly longest: number;
}

/** Ways to swap under load; `null` is no swap at all. */
const underLoadWays = [null, 'swapSync', 'swap', 'swap open-first', 'koffi', 'ffi-rs'] as const;

/** Calls a function all the time, and swaps the library every few milliseconds. */
export async function underLoad(
  library: Library,
  programs: Programs,
  directory: string,
  milliseconds: number,
): Promise<Record<string, Delays>> {
  const delays: Record<string, Delays> = {};
  for (const way of underLoadWays) {
    const setup = { library, functions: 1, others: [] };
    const place = mkdtempSync(join(directory, 'load-'));
    const contender = await programs.start(way ?? 'swap', setup, place);
    try {
      await contender.request({ load: milliseconds / 4, swap: way !== null }); // to warm up
      const swap = way !== null;
      delays[way ?? 'no swap'] = await contender.request<Delays>({ load: milliseconds, swap });
    } finally {
      await contender.end();
    }
  }
  return delays;
}

/** What a process has. */
export interface Held {
  readonly residentKiB: number;
  /** Of that, what is not the heap of V8. */
  readonly outsideHeapKiB: number;
  readonly descriptors: number;
  readonly mappings: number;
}

/** What a process has after some swaps, and after many more. */
export interface Endurance {
  readonly swaps: number;
  readonly before: Held;
  readonly after: Held;
}

/** Swaps again and again, and looks at what is left behind. */
export async function endure(
  library: Library,
  programs: Programs,
  directory: string,
  swaps: number,
): Promise<Record<string, Endurance>> {
  const place = mkdtempSync(join(directory, 'endure-'));
  const results: Record<string, Endurance> = {};
  for (const way of ['swapSync', 'swap open-first']) {
    const setup = { library, functions: 1, others: [] };
    // V8 would let its young generation grow in steps of megabytes.
    const contender = await programs.start(way, setup, place, '--max-semi-space-size=1');
    try {
      // Compilers and allocators take what they need in the first ten thousand swaps.
      const before = await contender.request<Held>({ endure: Math.ceil(swaps / 4) });
      const after = await contender.request<Held>({ endure: swaps });
      results[way] = { swaps, before, after };
    } finally {
      await contender.end();
    }
  }
  return results;
}

/** Milliseconds that it takes to import a package, and to open and bind a first library. */
export interface Start {
  readonly importing: Spread;
  readonly opening: Spread;
}

const starts: Readonly<Record<string, (path: string, symbol: string) => string>> = {
  soswap: (path, symbol) => `
    const { SoHandle } = await import('soswap');
    const imported = performance.now();
    SoHandle.open(${path}, { ${symbol}: { return: 'int32' } }).functions.${symbol}();`,
  koffi: (path, symbol) => `
    const { default: koffi } = await import('koffi');
    const imported = performance.now();
    koffi.load(${path}).func('${symbol}', 'int', [])();`,
  'ffi-rs': (path, symbol) => `
    const { DataType, define, open } = await import('ffi-rs');
    const imported = performance.now();
    open({ library: 'it', path: ${path} });
    define({ ${symbol}: { library: 'it', retType: DataType.I32, paramsType: [] } }).${symbol}([]);`,
};

/** Starts processes in turns that import a package and open a library. `root` is this checkout. */
export function startTimes(library: Library, root: string, rounds: number): Record<string, Start> {
  const seen = new Map(Object.keys(starts).map((name) => [name, [] as [number, number][]]));
  const { NODE_OPTIONS: _, ...env } = process.env;
  for (let round = 0; round < rounds; round++) {
    for (const [name, program] of Object.entries(starts)) {
      const text = `
        const begun = performance.now();
        ${program(JSON.stringify(library.versions[0]), library.symbols[0]!)}
        console.log(JSON.stringify([imported - begun, performance.now() - imported]));`;
      const flags = ['--no-warnings', '--input-type=module', '--eval', text];
      const { status, stdout, stderr } = spawnSync(process.execPath, flags, {
        cwd: root,
        encoding: 'utf8',
        env,
      });
      if (status !== 0) throw new Error(`${name} did not start: ${stderr}`);
      seen.get(name)!.push(JSON.parse(stdout));
    }
  }
  return Object.fromEntries(
    [...seen].map(([name, times]) => [
      name,
      { importing: spread(times.map(([it]) => it)), opening: spread(times.map(([, it]) => it)) },
    ]),
  );
}
