import { lstatSync, readlinkSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve, sep } from 'node:path';

/** As the kernel follows them, see path_resolution(7). */
const mostLinks = 40;

/**
 * The directories in which a change can make `path` mean another file, each with the names in it that matter: every
 * directory on the way, also on the way to where symbolic links lead. It ends where something is absent.
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
      reached = dirname(reached); // no link is left in it
      continue;
    }
    const next = join(reached, name);
    const target = linkTarget(next);
    hops.set(reached, (hops.get(reached) ?? new Set()).add(name));
    if (target === undefined) break;
    if (target === null) {
      reached = next;
    } else if (++links > mostLinks) {
      break;
    } else {
      if (isAbsolute(target)) reached = sep;
      rest = [...target.split(sep), ...further];
    }
  }
  return hops;
}

/** What a symbolic link says; `null` for anything else, `undefined` where there is nothing. */
function linkTarget(path: string): string | null | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null;
  } catch {
    return undefined;
  }
}
