import { dirname, normalize } from 'node:path';
import { SoError } from '../internal/errors.js';
import type { Steps } from '../internal/steps.js';
import { Candidate } from './candidate.js';
import type { Source } from './source.js';

/** A library, and what it needs of those that were deployed with it. */
export interface Deployed {
  readonly source: Source;
  /** DT_NEEDED of its file. */
  readonly needed: readonly string[];
  /** The paths of those that were deployed with it, by their names in `needed`. */
  readonly needs: ReadonlyMap<string, string>;
}

/**
 * Finds the libraries that were deployed with one: those that its own DT_RUNPATH or DT_RPATH, or the one of such a
 * library, finds in its directory, below it, or beside it. Copies each file for the look.
 *
 * @param sourceOf Returns the source of a path.
 * @returns Each after those that it needs, so that the library itself is the last.
 * @throws {SoError} `ERR_SOSWAP_DEPENDENCY_CYCLE`, and what copying throws.
 */
export function* deployedWith(
  library: Source,
  sourceOf: (path: string) => Source,
): Steps<Deployed[]> {
  const directory = dirname(library.path);
  const parent = dirname(directory);
  const place = parent === '/' ? directory : parent;
  const isDeployed = (path: string) => path.startsWith(place === '/' ? place : `${place}/`);
  const found = new Map<string, Deployed>();
  const visiting: string[] = [];
  function* visit(source: Source, inherited: readonly string[]): Steps<void> {
    const { path } = source;
    if (found.has(path)) return;
    if (visiting.includes(path)) throw cycle([...visiting.slice(visiting.indexOf(path)), path]);
    visiting.push(path);
    const look = yield* lookAt(source, inherited);
    const needs = new Map<string, string>();
    for (const [index, name] of look.needed.entries()) {
      const file = normalize(look.files.paths[index] ?? '');
      if (isDeployed(file)) needs.set(name, file);
    }
    for (const file of needs.values()) yield* visit(sourceOf(file), look.files.inherited);
    visiting.pop();
    found.set(path, { source, needed: look.needed, needs });
  }
  yield* visit(library, []);
  return [...found.values()];
}

function* lookAt(source: Source, inherited: readonly string[]) {
  const look = yield* Candidate.take(source);
  try {
    const { needed } = look.links;
    return { needed, files: source.library.neededFiles(look.facts.id, inherited) };
  } finally {
    look.release();
  }
}

/** Creates the error of libraries that need each other, the first one named again at the end. */
export function cycle(paths: readonly string[]): SoError {
  const message = `cannot load '${paths[0]}': it would need itself: ${paths.join(' needs ')}`;
  return new SoError('ERR_SOSWAP_DEPENDENCY_CYCLE', message, paths[0] as string);
}
