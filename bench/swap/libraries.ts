import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'soswap';
import { compile } from '../../fixtures/build.js';
import { Elf } from './elf.js';

/** What the marker of the first version says; that of the second says one more. contender.ts and limit.c know it. */
const firstValue = 1001;

/** A library in two versions that tell themselves apart by their first symbol, the marker. */
export interface Library {
  readonly name: string;
  readonly bytes: number;
  readonly versions: readonly [string, string];
  /** Whether the marker is a function that returns the value, or a word of data that is it. */
  readonly marker: 'call' | 'read';
  /** What can be bound: the marker first. */
  readonly symbols: readonly string[];
  /** The names of its dependencies. */
  readonly needed: readonly string[];
}

/** Compiles a library of `count` functions. */
export function generated(directory: string, count: number): Library {
  const source = join(directory, `functions-${count}.c`);
  const names = Array.from({ length: count }, (_, index) => `function_${index}`);
  writeFileSync(source, names.map((name) => `int ${name}(void) { return VALUE; }\n`).join(''));
  const version = (value: number) =>
    compile(source, join(directory, `functions-${count}-${value}.so`), `-DVALUE=${value}`);
  const versions = [version(firstValue), version(firstValue + 1)] as const;
  const bytes = readFileSync(versions[0]).length;
  return { name: 'tiny', bytes, versions, marker: 'call', symbols: names, needed: [] };
}

/** Libraries of Debian: where the linker's cache has them, they are measured. */
export const installed = [
  { name: 'libsqlite3', file: /libsqlite3\.so\.0$/, marker: 'sqlite3_libversion_number' },
  { name: 'libicudata', file: /libicudata\.so\.\d+$/, marker: /^icudt\d+_dat$/ },
  { name: 'libLLVM', file: /libLLVM(-\d+)?\.so[.\d]*$/, marker: 'LLVMIsMultithreaded' },
] as const;

type Installed = (typeof installed)[number];

/** The path of the library, `undefined` where it is not installed. */
export function pathOf({ file }: Installed): string | undefined {
  const cache = execFileSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' });
  const paths = [...cache.matchAll(/=> (\S+)$/gm)].map(([, path]) => path!);
  return paths.filter((path) => file.test(path) && existsSync(path)).sort()[0];
}

/** Two versions of an installed library. The marker's first bytes are made to say which is which. */
export function patched(directory: string, library: Installed, path: string): Library {
  const { name } = library;
  const original = readFileSync(path);
  const elf = new Elf(original);
  const symbols = elf.symbols();
  const wanted = library.marker;
  const marker = symbols.find((symbol) =>
    typeof wanted === 'string' ? symbol.name === wanted : wanted.test(symbol.name),
  );
  if (marker === undefined) throw new Error(`${path} has no ${wanted}`);
  const version = (value: number) => {
    const bytes = Buffer.from(original);
    // With -z nodelete nobody could swap it, not even C.
    new Elf(bytes).clearNoDelete();
    const says = marker.isFunction ? codeReturning(value) : wordOf(value);
    says.copy(bytes, elf.offsetOf(marker.address));
    const output = join(directory, `${name}-${value}.so`);
    writeFileSync(output, bytes);
    return output;
  };
  const functions = symbols.filter((each) => each.isFunction && each !== marker);
  return {
    name,
    bytes: original.length,
    versions: [version(firstValue), version(firstValue + 1)],
    marker: marker.isFunction ? 'call' : 'read',
    symbols: [marker, ...functions].map((symbol) => symbol.name),
    needed: inspect(path).dependencies.flatMap((it) => (it.neededBy === path ? [it.name] : [])),
  };
}

function wordOf(value: number): Buffer {
  const word = Buffer.alloc(4);
  word.writeInt32LE(value);
  return word;
}

/** `return value;` */
function codeReturning(value: number): Buffer {
  if (process.arch === 'x64')
    return Buffer.concat([Buffer.of(0xb8), wordOf(value), Buffer.of(0xc3)]);
  const [movz, ret] = [0x52800000, 0xd65f03c0];
  const code = Buffer.alloc(8);
  code.writeUInt32LE(movz + (value << 5), 0);
  code.writeUInt32LE(ret, 4);
  return code;
}

/** Copies of the library with names of their own, for other handles to open. */
export function copies({ versions }: Library, directory: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => {
    const copy = join(directory, `other-${index}.so`);
    if (!existsSync(copy)) copyFileSync(versions[0], copy);
    return copy;
  });
}
