import { type BigIntStats, statSync } from 'node:fs';
import { SoError } from '../internal/errors.js';
import { type Steps, step } from '../internal/steps.js';
import type { SnapshotFacts } from '../native/types.js';
import type { Source } from './source.js';

/**
 * The file at the handle's path, compared with the one that the running image was taken from.
 *
 * - `current`: the same bytes, in the same file or in another one
 * - `replaced`: another file with other bytes, or another file of a dependency; the next swap takes it
 * - `overwritten`: the same file with other bytes, or a file that somebody is writing; the next swap takes it
 * - `rolled-back`: the bytes that {@link SoHandle.rollback} has gone back from; neither a watch nor a signal takes them
 *   again, `swap()` without `ifChanged` does
 * - `missing`: no file
 */
export type FileStatus = 'current' | 'replaced' | 'overwritten' | 'rolled-back' | 'missing';

/** The file at the path of `source`, compared with the snapshot `taken`. */
export class FileComparison {
  readonly #source: Source;
  readonly #taken: SnapshotFacts;
  /** What the bytes of the file that was read last have said. */
  #known: { readonly identity: string; readonly status: FileStatus } | undefined;

  constructor(source: Source, taken: SnapshotFacts) {
    this.#source = source;
    this.#taken = taken;
  }

  /**
   * Reads the file only where stat(2) cannot tell: where it was touched, or written or replaced with as many bytes; and
   * each such file once.
   *
   * @throws {SoError} `ERR_SOSWAP_UNREADABLE`; `ERR_SOSWAP_BEING_WRITTEN`: the bytes may come out as they were.
   */
  *status(): Steps<FileStatus> {
    const found = this.#look();
    if (typeof found === 'string') return found;
    const { identity, otherwise, isSettled } = found;
    const { library } = this.#source;
    const same = yield* step(
      () => library.stillInFile(this.#taken.id),
      () => library.stillInFileAsync(this.#taken.id),
    );
    const status = same ? 'current' : otherwise;
    if (isSettled) this.#known = { identity, status };
    return status;
  }

  /** The same without reading the file; `undefined` where only its bytes can tell. */
  statusUnread(): FileStatus | undefined {
    const found = this.#look();
    return typeof found === 'string' ? found : undefined;
  }

  #look(): FileStatus | Undecided {
    const file = statFile(this.#source.path);
    if (file === undefined) return 'missing';
    const { device, inode, size, mtimeNs, ctimeNs } = this.#taken;
    // A file system may give a new file the inode number of a removed one at once.
    const isSame = file.dev === device && file.ino === inode && file.birthtimeNs <= ctimeNs;
    const otherwise = isSame ? 'overwritten' : 'replaced';
    if (!file.isFile() || file.size !== BigInt(size)) return otherwise;
    if (isSame && file.mtimeNs === mtimeNs && file.ctimeNs === ctimeNs) return 'current';
    const identity = [file.dev, file.ino, file.mtimeNs, file.ctimeNs].join();
    if (identity === this.#known?.identity) return this.#known.status;
    return { identity, otherwise, isSettled: isSettled(file) };
  }
}

/** Only the bytes of the file can tell. */
interface Undecided {
  readonly identity: string;
  /** The status if they are others. */
  readonly otherwise: FileStatus;
  /** Whether a later change must change the identity. */
  readonly isSettled: boolean;
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

/** Time stamps have steps: of up to 10 ms, or of up to 2 s where a file system stores whole seconds. */
function isSettled({ ctimeNs }: BigIntStats): boolean {
  const second = 1_000_000_000n;
  const step = ctimeNs % second === 0n ? 2n * second : second / 10n;
  return BigInt(Date.now()) * 1_000_000n - ctimeNs > step;
}

function statFile(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (cause) {
    const message = `cannot stat '${path}'`;
    throw new SoError('ERR_SOSWAP_UNREADABLE', message, path, undefined, { cause });
  }
}
