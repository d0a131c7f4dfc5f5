import { lstatSync, readlinkSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve, sep } from 'node:path';

/** The limit of the kernel, path_resolution(7). */
const maxLinks = 40;

/**
 * Returns every directory in which a change can make `path` lead to another file, each with the names that matter in
 * it. These are the directories on the path and on the paths of its symbolic links, up to the first absent one.
 */
export function pathHops(path: string): Map<string, Set<string>> {
  const hops = new Map<string, Set<string>>();
  let links = 0;
  let reached: string = sep;
  let rest = resolve(path).split(sep);
  while (rest.length > 0) {
    const [name = '', ...further] = rest;
    rest = further;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      reached = dirname(reached); // `reached` contains no links
      continue;
    }
    const next = join(reached, name);
    const target = linkTarget(next);
    hops.set(reached, (hops.get(reached) ?? new Set()).add(name));
    if (target === undefined) break;
    if (target === null) {
      reached = next;
    } else if (++links > maxLinks) {
      break;
    } else {
      if (isAbsolute(target)) reached = sep;
      rest = [...target.split(sep), ...further];
    }
  }
  return hops;
}

/** Returns the target of a symbolic link; `null` for another file, `undefined` if there is no file. */
function linkTarget(path: string): string | null | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null;
  } catch {
    return undefined;
  }
}
