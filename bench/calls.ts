// What a call costs: soswap beside an addon that is written by hand for these very functions, which is the
// limit, and beside other ways to call C. `V8` is what V8 itself takes for a call from compiled code that nobody checks,
// `leaf: false` is soswap's way through Node-API. bun and deno are measured where they are in $PATH, each in a process of its
// own, one after the other. The table is Markdown. What soswap/koffi adds to a call of koffi is to be at most 10 ns.
//
//   npm run bench -- calls [ROUNDS]

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DataType, define, open } from 'ffi-rs';
import koffi from 'koffi';
import { measure } from 'mitata';
import { SoHandle } from 'soswap';
import { koffiFunctions } from 'soswap/koffi';
import { compile } from '../fixtures/build.js';

const require = createRequire(import.meta.url);
const rounds = Number(process.argv[2] ?? 41);
const directory = mkdtempSync(join(tmpdir(), 'soswap-bench-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const library = compile('calls.c', join(directory, 'calls.so'), '-O2');
const composite = compile('composite.c', join(directory, 'composite.so'), '-O2', '-DSCALE=1');
koffi.struct('Point', { x: 'double', y: 'double' });

type Call = (...values: never[]) => unknown;
type Calls = Partial<Record<string, Call>>;

/** `call`, `bytes` and `point` are what the expressions see. */
const cases: Record<string, string> = {
  'noop()': 'call.noop()',
  'add(int32, int32)': 'call.add(i, 4)',
  'mul(float64, float64)': 'call.mul(i, 2.5)',
  'add(int64, int64)': 'call.add64(7n, 4n)',
  'strlen(string) → uint32': "call.length32_of('hello, world')",
  'strlen(string) → uint64': "call.length_of('hello, world')",
  'sum(buffer, uint64) → uint32': 'call.sum32_bytes(bytes, 64)',
  'sum(buffer, uint64) → uint64': 'call.sum_bytes(bytes, 64)',
  'nonblocking add(int32, int32)': 'await call.add_later(i, 4)',
  'length_squared(Point)': 'call.length_squared(point)',
  'sum(int32, …)': "call.sum(2, 'int', i, 'int', 4)",
};

/** Builds what is written by hand, and returns one of the addons. */
function handwritten(name: 'handwritten' | 'unchecked'): Calls {
  const place = fileURLToPath(new URL('handwritten', import.meta.url));
  const nodeGyp = fileURLToPath(new URL('../tools/gyp.js', import.meta.url));
  const build = ['rebuild', '--loglevel=warn', '-C', place];
  const { status, stderr } = spawnSync(process.execPath, [nodeGyp, ...build], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  const addon = require(join(place, `build/Release/${name}.node`));
  addon.load(library);
  return addon;
}

function soswap(leaf: boolean): Calls {
  const so = SoHandle.open(library, {
    noop: { leaf },
    add: { arguments: ['int32', 'int32'], return: 'int32', leaf },
    add64: { arguments: ['int64', 'int64'], return: 'int64', leaf },
    mul: { arguments: ['float64', 'float64'], return: 'float64', leaf },
    length_of: { arguments: ['string'], return: 'uint64' },
    length32_of: { arguments: ['string'], return: 'uint32' },
    sum_bytes: { arguments: ['buffer', 'uint64'], return: 'uint64' },
    sum32_bytes: { arguments: ['buffer', 'uint64'], return: 'uint32' },
  });
  const later = SoHandle.open(library, {
    add: { arguments: ['int32', 'int32'], return: 'int32', nonblocking: true },
  });
  return { ...so.functions, add_later: later.functions.add };
}

const prototypes = {
  noop: 'void noop()',
  add: 'int32_t add(int32_t a, int32_t b)',
  mul: 'double mul(double a, double b)',
  add64: 'int64_t add64(int64_t a, int64_t b)',
  length_of: 'uint64_t length_of(const char* text)',
  length32_of: 'uint32_t length32_of(const char* text)',
  sum_bytes: 'uint64_t sum_bytes(const uint8_t* bytes, uint64_t count)',
  sum32_bytes: 'uint32_t sum32_bytes(const uint8_t* bytes, uint64_t count)',
};
const compositePrototypes = {
  length_squared: 'double length_squared(Point p)',
  sum: 'int sum(int count, ...)',
};

function koffiCalls(): Calls {
  const of = (path: string, definitions: Record<string, string>) => {
    const so = koffi.load(path);
    return Object.entries(definitions).map(([name, text]) => [name, so.func(text)] as const);
  };
  const calls = Object.fromEntries([
    ...of(library, prototypes),
    ...of(composite, compositePrototypes),
  ]);
  return {
    ...calls,
    add_later: (a: number, b: number) =>
      new Promise((resolve, reject) => {
        const done = (error: unknown, sum: number) => (error ? reject(error) : resolve(sum));
        calls.add!.async(a, b, done);
      }),
  };
}

function soswapKoffi(): Calls {
  const calls = koffiFunctions(SoHandle.open(library), prototypes);
  return {
    ...calls,
    ...koffiFunctions(SoHandle.open(composite), compositePrototypes),
    add_later: (a: number, b: number) => calls.add.async(a, b),
  };
}

function ffiRs(): Calls {
  open({ library: 'calls', path: library });
  const { I32, U32, U64, Double, String: Text, U8Array, Void } = DataType;
  const of = (retType: DataType, paramsType: DataType[], options = {}) => ({
    library: 'calls',
    retType,
    paramsType,
    ...options,
  });
  const call = define({
    noop: of(Void, []),
    add: of(I32, [I32, I32]),
    mul: of(Double, [Double, Double]),
    length_of: of(U64, [Text]),
    length32_of: of(U32, [Text]),
    sum_bytes: of(U64, [U8Array, U64]),
    sum32_bytes: of(U32, [U8Array, U64]),
  }) as Record<string, (values: unknown[]) => unknown>;
  const { add } = define({ add: of(I32, [I32, I32], { runInNewThread: true }) }) as typeof call;
  const spread =
    (take: (values: unknown[]) => unknown) =>
    (...values: unknown[]) =>
      take(values);
  const calls = Object.entries(call).map(([name, take]) => [name, spread(take)]);
  return { ...Object.fromEntries(calls), add_later: spread(add!) };
}

interface NodeFfi {
  dlopen(path: string, definitions: object): { functions: Calls };
}

/** Undefined where this Node.js has no node:ffi. */
function nodeFfi(): Calls | undefined {
  const ffi: unknown = process.getBuiltinModule?.('node:ffi' as 'node:fs');
  if (ffi === undefined) return undefined;
  const { functions } = (ffi as NodeFfi).dlopen(library, {
    noop: {},
    add: { arguments: ['int32', 'int32'], return: 'int32' },
    mul: { arguments: ['float64', 'float64'], return: 'float64' },
    add64: { arguments: ['int64', 'int64'], return: 'int64' },
    length_of: { arguments: ['string'], return: 'uint64' },
    length32_of: { arguments: ['string'], return: 'uint32' },
    sum_bytes: { arguments: ['buffer', 'uint64'], return: 'uint64' },
    sum32_bytes: { arguments: ['buffer', 'uint64'], return: 'uint32' },
  });
  return functions;
}

/** The nanoseconds of each round, by function. Undefined where there is no such command. */
function peerTimes(command: string, args: string[]): Record<string, number[]> | undefined {
  const script = fileURLToPath(new URL('peers.js', import.meta.url));
  const { NODE_OPTIONS: _, ...env } = process.env;
  const options = { encoding: 'utf8', env } as const;
  const { error, status, stdout, stderr } = spawnSync(
    command,
    [...args, script, library, String(rounds)],
    options,
  );
  if (error !== undefined) return undefined;
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
  return JSON.parse(stdout);
}

/** How often a loop makes its call. A nonblocking one takes a thousand times as long. */
const repeatsOf = (name: string): number => (name.startsWith('nonblocking') ? 20 : 1000);

/**
 * A function that makes the call many times. Each has source text of its own: what V8 learns about a call,
 * it learns for all closures of one source, and then none of them is compiled for its own callee.
 */
function loopOver(name: string, implementation: string, call: Calls): () => unknown {
  const bytes = Buffer.alloc(64, 1);
  // node:ffi takes no number for a 64-bit integer.
  const text = cases[name]!.replace(
    'bytes, 64',
    implementation === 'node:ffi' ? 'bytes, 64n' : '$&',
  );
  const callee = /call\.(\w+)/.exec(text)![1]!;
  const body = `
    // ${name}, ${implementation}
    const callee = call.${callee};
    return ${text.startsWith('await') ? 'async ' : ''}() => {
      let result;
      for (let i = 0; i < ${repeatsOf(name)}; i++) result = ${text.replace(`call.${callee}`, 'callee')};
      return result;
    };`;
  return new Function('call', 'bytes', 'point', body)(call, bytes, { x: 3, y: 4 });
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** Median and, in brackets, the least and the greatest of all rounds. */
function spread(values: readonly number[]): string {
  const digits = median(values) < 1000 ? 1 : 0;
  const [least, middle, greatest] = [Math.min(...values), median(values), Math.max(...values)];
  return `${middle.toFixed(digits)} (${least.toFixed(digits)}–${greatest.toFixed(digits)})`;
}

const implementations: Record<string, Calls | undefined> = {
  'by hand': handwritten('handwritten'),
  V8: handwritten('unchecked'),
  soswap: soswap(true),
  'leaf: false': soswap(false),
  koffi: koffiCalls(),
  'soswap/koffi': soswapKoffi(),
  'ffi-rs': ffiRs(),
  'node:ffi': nodeFfi(),
};
const peers = Object.fromEntries(
  Object.entries({ bun: ['run'], deno: ['run', '--allow-all'] }).flatMap(([name, args]) => {
    const times = peerTimes(name, args);
    return times === undefined ? [] : [[name, times]];
  }),
);
const names = [
  ...Object.keys(implementations).filter((name) => implementations[name] !== undefined),
  ...Object.keys(peers),
];

console.log(`Node.js ${process.version}, ${process.arch}, ${availableParallelism()} processors,`);
console.log(`load ${loadavg()[0]!.toFixed(1)}; nanoseconds per call, median of ${rounds} rounds`);
console.log(
  '(least–greatest), and × what the addon written by hand takes; + what soswap/koffi takes more than koffi.\n',
);
console.log(`| call | ${names.join(' | ')} |`);
console.log(`| --- |${' ---: |'.repeat(names.length)}`);
for (const name of Object.keys(cases)) {
  const callee = /call\.(\w+)/.exec(cases[name]!)![1]!;
  const present = names.filter((each) => implementations[each]?.[callee] !== undefined);
  const loops = present.map((each) => loopOver(name, each, implementations[each]!));
  const times = new Map<string, number[]>(present.map((each) => [each, []]));
  // Round by round, so that whatever slows the machine down slows all of them down.
  for (let round = -1; round < rounds; round++) {
    for (const [index, each] of present.entries()) {
      const { p50 } = await measure(loops[index]!, {
        min_cpu_time: 5e6,
        batch_threshold: 0,
        gc: false,
      });
      if (round >= 0) times.get(each)!.push(p50 / repeatsOf(name));
    }
  }
  for (const [peer, each] of Object.entries(peers)) {
    if (each[callee] !== undefined) times.set(peer, each[callee]);
  }
  const limit = times.get('by hand');
  const plain = times.get('koffi')!;
  const cells = names.map((each) => {
    const mine = times.get(each);
    if (mine === undefined) return '';
    const more = (than: readonly number[]) =>
      median(mine.map((time, round) => time - than[round]!));
    const ratio = (of: readonly number[]) => median(mine.map((time, round) => time / of[round]!));
    const sign = more(plain) < 0 ? '' : '+';
    const added = each === 'soswap/koffi' ? ` ${sign}${more(plain).toFixed(1)}` : '';
    return `${spread(mine)}${limit ? ` ×${ratio(limit).toFixed(2)}` : ''}${added}`;
  });
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}
