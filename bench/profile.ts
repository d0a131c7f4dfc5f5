// Where the time of a swap goes, call by call.
//
//   npm run bench -- profile [swapSync|swap] [open-first]
//
// One line for each method of the addon, and for the calls into the C library and the loader within it.

import { execFileSync, spawnSync } from 'node:child_process';
import { linkSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import bindings from 'bindings';
import { type Definitions, SoHandle, type SwapOrder } from 'soswap';
import * as dl from 'soswap/dl';
import { generated, installed, type Library, patched, pathOf } from './swap/libraries.js';
import { median } from './swap/statistics.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const [way = 'swapSync', order = 'close-first', file] = process.argv.slice(2);
if (file === undefined) start();
else await profile(JSON.parse(readFileSync(file, 'utf8')));

function start(): void {
  const directory = mkdtempSync(join(tmpdir(), 'soswap-profile-'));
  process.once('exit', () => rmSync(directory, { recursive: true }));
  const preloaded = join(directory, 'profile.so');
  const source = fileURLToPath(new URL('swap/profile.c', import.meta.url));
  execFileSync('cc', ['-O2', '-shared', '-fPIC', '-o', preloaded, source, '-ldl']);
  const libraries: Library[] = [generated(directory, 1), generated(directory, 100)];
  for (const each of installed) {
    const path = pathOf(each);
    if (path !== undefined) libraries.push(patched(directory, each, path));
  }
  for (const [index, library] of libraries.entries()) {
    const setup = join(directory, `${index}.json`);
    const symbols = library.symbols.slice(0, library.name === 'tiny' ? undefined : 1);
    writeFileSync(
      setup,
      JSON.stringify({ ...library, symbols, path: join(directory, `${index}.so`) }),
    );
    const { status } = spawnSync(
      process.execPath,
      [...process.execArgv, fileURLToPath(import.meta.url), way, order, setup],
      { stdio: 'inherit', env: { ...process.env, LD_PRELOAD: preloaded } },
    );
    if (status !== 0) throw new Error(`the profile of ${library.name} failed`);
  }
}

async function profile(library: Library & { path: string }): Promise<void> {
  for (const each of library.needed) dl.dlopen(each);
  const program = dl.dlopen(null);
  const nameOf = dl.functionAt(dl.dlsym(program, 'profile_name'), {
    arguments: ['uint32'],
    return: 'string',
  });
  const readInto = dl.functionAt(dl.dlsym(program, 'profile_read'), { arguments: ['buffer'] });
  const names: string[] = [];
  for (let name = nameOf(0); name !== null; name = nameOf(names.length)) names.push(name);
  const counts = () => new Float64Array(names.length * 4);
  const read = (into: Float64Array) => readInto(into);
  /** For each method, and each swap: the calls into the C library, and the time in them and in all. */
  let scopes = new Map<string, { time: number; calls: Float64Array; count: number }>();
  const [before, after] = [counts(), counts()];
  let on = false;
  const timing = (name: string, call: () => unknown) => {
    if (!on) return call();
    read(before);
    const began = performance.now();
    const result = call();
    const time = performance.now() - began;
    read(after);
    const scope = scopes.get(name) ?? { time: 0, calls: counts(), count: 0 };
    scopes.set(name, scope);
    scope.time += time * 1e6;
    scope.count++;
    for (const index of after.keys()) scope.calls[index]! += after[index]! - before[index]!;
    return result;
  };
  // The methods of a native class cannot be replaced, those of a class derived from it can.
  const addon = bindings({ bindings: 'soswap', module_root: root });
  for (const name of ['Library', 'Slots']) {
    const Native = addon[name];
    const Timed = class extends Native {};
    for (const method of Object.getOwnPropertyNames(Native.prototype)) {
      if (method === 'constructor') continue;
      const native = Native.prototype[method];
      const timed = function (this: unknown, ...values: unknown[]) {
        return timing(`${name}.${method}`, () => native.apply(this, values));
      };
      Object.defineProperty(Timed.prototype, method, { value: timed });
    }
    addon[name] = Timed;
  }

  let version = 0;
  const replace = () => {
    version = 1 - version;
    linkSync(library.versions[version]!, `${library.path}.next`);
    renameSync(`${library.path}.next`, library.path);
  };
  replace();
  const definitions = Object.fromEntries(
    library.symbols.map((name) => [name, { return: 'int32' }]),
  );
  const so = SoHandle.open(library.path, definitions as Definitions, { unload: 'always' });
  const options = { order: order as SwapOrder };
  const swaps = library.bytes > 1e7 ? 20 : 1000;
  const swap = async () => {
    replace();
    const began = performance.now();
    if (way === 'swap') await so.swap(options);
    else so.swapSync(options);
    return (performance.now() - began) * 1e6;
  };
  for (let warm = 0; warm < swaps; warm++) await swap();
  const times: number[] = [];
  while (times.length < swaps) times.push(await swap());
  on = true;
  const begun = counts();
  read(begun);
  const each: (typeof scopes)[] = [];
  while (each.length < swaps) {
    scopes = new Map();
    await swap();
    each.push(scopes);
  }
  const ended = counts();
  read(ended);

  const line = (nanoseconds: number, calls: number, name: string, depth = 0) => {
    const time = (nanoseconds / 1000).toFixed(1).padStart(9 + depth * 4);
    console.log(`${time} µs ${calls.toFixed(calls % 1 === 0 ? 0 : 1).padStart(4)} × ${name}`);
  };
  console.log(
    `\n## ${library.name}, ${library.symbols.length} functions, ${library.bytes} bytes\n`,
  );
  line(median(times), 1, `${way}, ${order}: the median of ${swaps}`);
  const methods = [...each.at(-1)!.keys()].map((name) => {
    const of = each.flatMap((all) => all.get(name) ?? []);
    return { name, of, time: median(of.map(({ time }) => time)), count: of.length / swaps };
  });
  for (const { name, of, time, count } of methods.sort((a, b) => b.time - a.time)) {
    line(time, count, name);
    const calls = names.map((call, index) => ({
      call,
      count: median(of.map(({ calls }) => calls[index * 4]!)),
      time: median(of.map(({ calls }) => calls[index * 4 + 1]!)),
    }));
    const made = calls.filter(({ count }) => count > 0).sort((a, b) => b.time - a.time);
    for (const each of made) line(each.time, each.count, each.call, 1);
    line(time - made.reduce((sum, each) => sum + each.time, 0), count, '(its own)', 1);
  }
  const inside = methods.reduce((sum, { time }) => sum + time, 0);
  line(median(times) - inside, 1, 'JavaScript and waiting');
  for (const [index, call] of names.entries()) {
    const calls = (ended[index * 4 + 2]! - begun[index * 4 + 2]!) / swaps;
    const time = (ended[index * 4 + 3]! - begun[index * 4 + 3]!) / swaps;
    if (calls >= 1) line(time, calls, `${call} on other threads`);
  }
}
