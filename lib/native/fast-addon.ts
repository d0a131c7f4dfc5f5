/** Loads the addon whose functions V8 calls from compiled code, when it is needed first. There is one for each ABI of Node.js. */

import { closeSync, openSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { addonPath } from './addon.js';

/** How the last call ended that did not simply return; native/fast/outcome.h. */
export const outcome = { returned: 0, unavailable: 1, exception: 2 } as const;

/** A function that checks nothing. It takes the halves of an address of `boundTarget()`, then the arguments: integers first. */
export type UncheckedCall = (...values: unknown[]) => unknown;

/** The exports of native/fast. */
export interface FastAddon {
  /** The outcome of the last call on this thread, which the caller sets back, and the number of calls that were not compiled. */
  readonly outcome: Int32Array;
  /** Returns a function for the types of the result and of the arguments, a letter each. */
  make(letters: string): UncheckedCall | undefined;
  /** Returns what the C++ exception of the last call says; `null` if it says nothing. */
  takeExceptionText(): string | null;
  /** Whether V8 reads signatures as the addon writes them. */
  readonly isAsDeclared: boolean;
}

type Loaded = { readonly addon: FastAddon; readonly reason: null } | Unavailable;
type Unavailable = { readonly addon: undefined; readonly reason: string };

let loaded: Loaded | undefined;

/** Returns the addon of this thread, or the reason why there is none. Never throws. */
export function fastAddon(): Loaded {
  loaded ??= load();
  return loaded;
}

function load(): Loaded {
  const obstacle = obstacleOfProcess();
  if (obstacle !== undefined) return { addon: undefined, reason: obstacle };
  const name = `soswap-fast-${process.versions.modules}.node`;
  const file = join(dirname(addonPath), name);
  try {
    const defect = defectOf(file);
    if (defect !== undefined) return { addon: undefined, reason: `${name} ${defect}` };
    const module = { exports: {} };
    process.dlopen(module, file);
    const addon = module.exports as FastAddon;
    if (addon.isAsDeclared) return { addon, reason: null };
    return { addon: undefined, reason: `V8 ${process.versions.v8} does not take its signatures` };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT'
        ? `there is no ${name} for this Node.js; npx soswap build compiles one`
        : `${name} does not load: ${message}`;
    return { addon: undefined, reason };
  }
}

function obstacleOfProcess(): string | undefined {
  if (process.env.SOSWAP_FAST === '0') return 'SOSWAP_FAST is 0';
  for (const runtime of ['bun', 'deno']) {
    if (process.versions[runtime] !== undefined) return `this is ${runtime}`;
  }
  if (!('WebAssembly' in globalThis)) return 'V8 compiles nothing (--jitless)';
  try {
    new Function('');
  } catch {
    return 'no code may be made from strings (--disallow-code-generation-from-strings)';
  }
  return undefined;
}

/** To load the first half of a file would end the process. The table of sections is what lies last in one. */
function defectOf(file: string): string | undefined {
  const descriptor = openSync(file, 'r');
  try {
    const header = Buffer.allocUnsafe(64);
    if (readSync(descriptor, header) < header.length) return 'ends early';
    if (header.readUInt32BE(0) !== 0x7f454c46) return 'is not an ELF file';
    const sections = header.readUInt32LE(40); // 64 bits, of which a small file needs 32
    const end = sections + header.readUInt16LE(58) * header.readUInt16LE(60);
    return readSync(descriptor, header, 0, 1, end - 1) === 1 ? undefined : 'ends early';
  } finally {
    closeSync(descriptor);
  }
}
