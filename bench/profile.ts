// Where the time of a swap goes, call by call.
//
//   npm run bench -- profile [swapSync|swap] [close-first|open-first]
//
// For each library a line for each method of the addon that a swap calls, and within it for each function of the C
// library and of the loader: medians of microseconds, and how often. bench/swap/profile.c takes the time.

import { execFileSync, spawnSync } from 'node:child_process';
import { linkSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Definitions, SoHandle, type SwapOrder } from 'soswap';
import * as dl from 'soswap/dl';
import { generated, installed, type Library, patched, pathOf } from './swap/libraries.js';
import { median } from './swap/statistics.js';

interface Profiled {
  readonly library: Library;
  readonly path: string;
}

const [way = 'swapSync', order = 'close-first', file] = process.argv.slice(2);

/** Profiles each library in a process of its own. */
function startAll(): void {
  const directory = mkdtempSync(join(tmpdir(), 'soswap-profile-'));
  process.once('exit', () => rmSync(directory, { recursive: true }));
  const preloaded = join(directory, 'profile.so');
  const source = fileURLToPath(new URL('swap/profile.c', import.meta.url));
  const [compiler, ...flags] = (process.env.CC ?? 'cc').split(' ');
  execFileSync(compiler!, [...flags, '-O2', '-shared', '-fPIC', '-o', preloaded, source, '-ldl']);
  const libraries: Library[] = [generated(directory, 1), generated(directory, 100)];
  for (const each of installed) {
    const path = pathOf(each);
    if (path === undefined) continue;
    const library = patched(directory, each, path);
    libraries.push({ ...library, symbols: library.symbols.slice(0, 1) });
  }
  const env = { ...process.env, LD_PRELOAD: preloaded };
  for (const library of libraries) {
    const setup = join(directory, 'setup.json');
    writeFileSync(setup, JSON.stringify({ library, path: join(directory, 'it.so') }));
    const program = [...process.execArgv, fileURLToPath(import.meta.url), way, order, setup];
    const { status } = spawnSync(process.execPath, program, { stdio: 'inherit', env });
    if (status !== 0) throw new Error(`the profile of ${library.name} failed`);
  }
}

/** The counters of profile.c. */
class Counters {
  readonly names: readonly string[];
  readonly #read;

  constructor() {
    const program = dl.dlopen(null);
    const nameOf = dl.functionAt(dl.dlsym(program, 'profile_name'), {
      arguments: ['uint32'],
      return: 'string',
    });
    const names: string[] = [];
    for (let name = nameOf(0); name !== null; name = nameOf(names.length)) names.push(name);
    this.names = names;
    this.#read = dl.functionAt(dl.dlsym(program, 'profile_read'), { arguments: ['buffer'] });
  }

  /** Room for all of them. */
  room(): Float64Array {
    return new Float64Array(this.names.length * 4);
  }

  /** Calls and nanoseconds on the main thread, then those on the others, of each name. */
  read(into: Float64Array): void {
    this.#read(into);
  }
}

/** What one swap spent in one method of the addon. */
interface Scope {
  nanoseconds: number;
  count: number;
  readonly calls: Float64Array;
}

/** Has every method of the addon's classes timed. */
class Timing {
  /** Of the swap that is under way; `undefined`: nothing is timed. */
  scopes: Map<string, Scope> | undefined;
  readonly #counters: Counters;
  readonly #before: Float64Array;
  readonly #after: Float64Array;

  constructor(counters: Counters) {
    this.#counters = counters;
    this.#before = counters.room();
    this.#after = counters.room();
    const addon = createRequire(import.meta.url)('../build/Release/soswap.node');
    for (const name of ['Library', 'Slots']) addon[name] = this.#timed(name, addon[name]);
  }

  /** The methods of a native class cannot be replaced, those of a class derived from it can. */
  #timed<T extends new () => object>(name: string, Native: T): T {
    const Timed = class extends (Native as new () => object) {};
    for (const method of Object.getOwnPropertyNames(Native.prototype)) {
      if (method === 'constructor') continue;
      const native = Native.prototype[method] as (...values: unknown[]) => unknown;
      const run = (call: () => unknown) => this.#time(`${name}.${method}`, call);
      const value = function (this: unknown, ...values: unknown[]) {
        return run(() => native.apply(this, values));
      };
      Object.defineProperty(Timed.prototype, method, { value });
    }
    return Timed as T;
  }

  #time(name: string, call: () => unknown): unknown {
    if (this.scopes === undefined) return call();
    this.#counters.read(this.#before);
    const began = performance.now();
    const result = call();
    const took = performance.now() - began;
    this.#counters.read(this.#after);
    const scope = this.scopes.get(name) ?? {
      nanoseconds: 0,
      count: 0,
      calls: this.#counters.room(),
    };
    this.scopes.set(name, scope);
    scope.nanoseconds += took * 1e6;
    scope.count++;
    for (const [at, after] of this.#after.entries()) scope.calls[at]! += after - this.#before[at]!;
    return result;
  }
}

/** Opens the library. What is returned replaces it, and what that returns swaps. */
function opened({ library, path }: Profiled): () => () => unknown {
  // libz3 would bind to libLLVM, and keep it mapped.
  for (const each of library.needed) dl.dlopen(each);
  let version = 1;
  const replace = () => {
    version = 1 - version;
    linkSync(library.versions[version]!, `${path}.next`);
    renameSync(`${path}.next`, path);
  };
  replace();
  const definitions = Object.fromEntries(library.symbols.map((it) => [it, { return: 'int32' }]));
  // No thread of these libraries is ever started.
  const so = SoHandle.open(path, definitions as Definitions, { unload: 'always' });
  const options = { order: order as SwapOrder };
  return () => {
    replace();
    return () => (way === 'swap' ? so.swap(options) : so.swapSync(options));
  };
}

async function profile(profiled: Profiled): Promise<void> {
  const counters = new Counters();
  const timing = new Timing(counters);
  const replace = opened(profiled);
  const swaps = profiled.library.bytes > 1e7 ? 20 : 1000;
  const times: number[] = [];
  for (let warm = -swaps; warm < swaps; warm++) {
    const swap = replace();
    const began = performance.now();
    await swap();
    if (warm >= 0) times.push((performance.now() - began) * 1e6);
  }
  const [begun, ended] = [counters.room(), counters.room()];
  const seen: Map<string, Scope>[] = [];
  counters.read(begun);
  while (seen.length < swaps) {
    timing.scopes = new Map();
    await replace()();
    seen.push(timing.scopes);
  }
  counters.read(ended);

  const { name, symbols, bytes } = profiled.library;
  console.log(`\n## ${name}, ${symbols.length} functions, ${bytes} bytes\n`);
  const total = median(times);
  line(total, 1, `${way}, ${order}`);
  line(total - printMethods(seen, counters.names), 1, 'JavaScript and waiting');
  for (const [index, name] of counters.names.entries()) {
    const at = index * 4 + 2;
    const calls = (ended[at]! - begun[at]!) / swaps;
    if (calls >= 1)
      line((ended[at + 1]! - begun[at + 1]!) / swaps, calls, `${name}, other threads`);
  }
}

/** Returns the nanoseconds in all of them. */
function printMethods(seen: readonly Map<string, Scope>[], names: readonly string[]): number {
  const methods = [...seen.at(-1)!.keys()].map((method) => {
    const scopes = seen.flatMap((swap) => swap.get(method) ?? []);
    const time = median(scopes.map(({ nanoseconds }) => nanoseconds));
    return { method, scopes, time, count: median(scopes.map(({ count }) => count)) };
  });
  for (const { method, scopes, time, count } of methods.sort((a, b) => b.time - a.time)) {
    line(time, count, method);
    const calls = names.map((name, index) => ({
      name,
      count: median(scopes.map(({ calls }) => calls[index * 4]!)),
      time: median(scopes.map(({ calls }) => calls[index * 4 + 1]!)),
    }));
    const made = calls.filter(({ count }) => count > 0).sort((a, b) => b.time - a.time);
    for (const each of made) line(each.time, each.count, each.name, 1);
    line(time - made.reduce((sum, each) => sum + each.time, 0), count, '(its own)', 1);
  }
  return methods.reduce((sum, { time }) => sum + time, 0);
}

function line(nanoseconds: number, count: number, name: string, depth = 0): void {
  const time = (nanoseconds / 1000).toFixed(1).padStart(10 + depth * 4);
  console.log(`${time} µs ${count.toFixed(0).padStart(4)} × ${name}`);
}

if (file !== undefined) await profile(JSON.parse(readFileSync(file, 'utf8')));
else startAll();
