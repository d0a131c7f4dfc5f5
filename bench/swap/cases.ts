import { copies, generated, installed, type Library, patched, pathOf } from './libraries.js';
import type { Setup } from './processes.js';

/** One thing to be measured. */
export interface Case {
  readonly name: string;
  readonly library: string;
  readonly functions: number;
  readonly handles: number;
  /** Makes the libraries, unless they are made. */
  readonly setup: () => Setup;
}

/** Made when it is first asked for, and once. */
function once(make: () => Library): () => Library {
  let made: Library | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/**
 * Sizes, numbers of functions and numbers of handles, smallest first. Libraries that are not installed are told to
 * `absent`.
 */
export function casesIn(directory: string, absent: (library: string) => void): Case[] {
  const one = once(() => generated(directory, 1));
  const of = (name: string, library: () => Library, functions: number, handles = 1): Case => ({
    name: handles > 1 ? `${name}-handles-${handles}` : `${name}-${functions}`,
    library: name,
    functions,
    handles,
    setup: () => ({ library: library(), functions, others: copies(one(), directory, handles - 1) }),
  });
  const cases = [
    of('tiny', one, 1),
    ...[100, 10_000].map((count) => {
      const library = once(() => generated(directory, count));
      return of('tiny', library, count);
    }),
    ...[10, 100, 1000].map((handles) => of('tiny', one, 1, handles)),
  ];
  for (const each of installed) {
    const path = pathOf(each);
    if (path === undefined) absent(each.name);
    else {
      const library = once(() => patched(directory, each, path));
      // There is no function in libicudata.
      for (const functions of each.name === 'libicudata' ? [1] : [1, 100]) {
        cases.push(of(each.name, library, functions));
      }
    }
  }
  return cases;
}
