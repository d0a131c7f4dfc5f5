import { type BigIntStats, statSync } from 'node:fs';
import { SoError } from '../internal/errors.js';
import { type Steps, step } from '../internal/steps.js';
import type { SnapshotFacts } from '../native/types.js';
import type { Source } from './source.js';

/**
 * The file at the handle's path, compared with the one that the running image was taken from.
 *
 * - `current`: the same file with the same bytes
 * - `replaced`: another file, or another file of a dependency; the next swap takes it
 * - `overwritten`: the same file with other bytes, or a file that somebody is writing; the next swap takes it
 * - `missing`: no file
 */
export type FileStatus = 'current' | 'replaced' | 'overwritten' | 'missing';

/**
 * Compares the file at the path of `source` with the snapshot `taken`. Reads it only where stat(2) cannot tell: where
 * it was touched, or overwritten with as many bytes.
 *
 * @throws {SoError} `ERR_SOSWAP_UNREADABLE`; `ERR_SOSWAP_BEING_WRITTEN`: the bytes may come out as they were.
 */
export function* fileStatus({ path, library }: Source, taken: SnapshotFacts): Steps<FileStatus> {
  const status = statusWithoutReading(path, taken);
  if (status !== undefined) return status;
  const same = yield* step(
    () => library.stillInFile(taken.id),
    () => library.stillInFileAsync(taken.id),
  );
  return same ? 'current' : 'overwritten';
}

/** Counts a file that somebody is writing as overwritten. */
export function* orOverwritten(status: Steps<FileStatus>): Steps<FileStatus> {
  try {
    return yield* status;
  } catch (error) {
    if (!(error instanceof SoError) || error.code !== 'ERR_SOSWAP_BEING_WRITTEN') throw error;
    return 'overwritten';
  }
}

/** `undefined` where only the bytes can tell. */
function statusWithoutReading(path: string, taken: SnapshotFacts): FileStatus | undefined {
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
    const message = `cannot stat '${path}'`;
    throw new SoError('ERR_SOSWAP_UNREADABLE', message, path, undefined, { cause });
  }
}
