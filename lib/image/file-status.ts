import { type BigIntStats, statSync } from 'node:fs';
import { SoError } from '../internal/errors.js';
import type { SnapshotFacts } from '../native/addon.js';

/**
 * What the file at the handle's path is, beside the image that runs.
 *
 * - `current`: the file that runs
 * - `replaced`: another file; the next swap takes it
 * - `overwritten`: the same file with other bytes; the next swap takes them
 * - `missing`: no file
 */
export type FileStatus = 'current' | 'replaced' | 'overwritten' | 'missing';

/**
 * What stat(2) tells of the file that a snapshot was taken from; `undefined` where only its bytes can tell: it was
 * touched, or overwritten with as many bytes.
 *
 * @throws {SoError} `ERR_SOSWAP_UNREADABLE`.
 */
export function statusWithoutReading(path: string, taken: SnapshotFacts): FileStatus | undefined {
  const file = statFile(path);
  if (file === undefined) return 'missing';
  // A file system may give a new file the inode number of a removed one at once.
  const sameInode = file.dev === taken.device && file.ino === taken.inode;
  if (!sameInode || file.birthtimeNs > taken.ctimeNs) return 'replaced';
  if (file.size !== BigInt(taken.size)) return 'overwritten';
  const untouched = file.mtimeNs === taken.mtimeNs && file.ctimeNs === taken.ctimeNs;
  return untouched ? 'current' : undefined;
}

function statFile(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (cause) {
    const message = `cannot look at '${path}'`;
    throw new SoError('ERR_SOSWAP_UNREADABLE', message, path, undefined, { cause });
  }
}
