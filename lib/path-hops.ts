import { lstatSync, readlinkSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';

/** As the kernel follows them, see path_resolution(7). */
const mostLinks = 40;

/**
 * The directories in which a change can make `path` mean another file: that of each symbolic link on the way, also
 * of those that stand for directories, and that of the file. Where something is absent, the directory in
 * which it would appear.
 */
export function pathHops(path: string): Set<string> {
  const hops = new Set<string>();
  let links = 0;
  let reached: string = sep;
  let rest = resolve(path).split(sep).filter(Boolean);
  while (rest.length > 0) {
    const [name = '', ...further] = rest;
    const next = join(reached, name);
    const target = linkTarget(next);
    if (target === undefined || target !== null || further.length === 0) hops.add(reached);
    if (target === undefined) break;
    if (target === null) {
      reached = next;
      rest = further;
    } else if (++links > mostLinks) {
      break;
    } else {
      rest = [...resolve(dirname(next), target).split(sep).filter(Boolean), ...further];
      reached = sep;
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
