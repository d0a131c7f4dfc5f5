import { dlopenFlags } from './dlopen-flags.js';
import { SoError } from './errors.js';
import { type NativeImage, type NativeSnapshot, native } from './native.js';
import type { ImageInfo } from './report.js';

/** How a handle loads its images. */
export interface Loading {
  /** The flags of dlopen(3). */
  readonly mode: number;
  /** Map the file itself, not a private copy. */
  readonly direct: boolean;
}

// For systems whose policy forbids executable memfds only after the fact, and for tests.
const inPrivateFile = process.env['SOSWAP_SNAPSHOT'] === 'file';

/** A file that is about to become the next image: copied and inspected, not loaded. */
export class Candidate {
  readonly path: string;
  readonly snapshot: NativeSnapshot;
  readonly #loading: Loading;

  private constructor(path: string, snapshot: NativeSnapshot, loading: Loading) {
    this.path = path;
    this.snapshot = snapshot;
    this.#loading = loading;
    if (snapshot.openForWriting) {
      snapshot.release();
      throw new SoError(
        'ERR_SOSWAP_BEING_WRITTEN',
        `cannot load '${path}': it is open for writing`,
        path,
      );
    }
  }

  static take(path: string, loading: Loading): Candidate {
    return new Candidate(path, native.takeSnapshot(path, inPrivateFile), loading);
  }

  /** The same, with the copy made and inspected on the thread pool. */
  static async takeAsync(path: string, loading: Loading): Promise<Candidate> {
    return new Candidate(path, await native.takeSnapshotAsync(path, inPrivateFile), loading);
  }

  /** Refuses the candidate if it lacks a symbol, without loading it where the file alone can tell. */
  requireSymbols(symbols: readonly string[]): void {
    // What the object itself lacks, a dependency may have: only the loader knows.
    if (symbols.every((symbol) => this.snapshot.defines(symbol))) return;
    // The private copy in either mode: the name of the file may still mean the old image.
    const trial = native.openImage(this.path, this.snapshot, dlopenFlags.RTLD_NOW);
    const missing = symbols.filter((symbol) => trial.symbol(symbol) === undefined);
    trial.close();
    if (missing.length > 0) throw missingSymbols(this.path, missing);
  }

  open(): NativeImage {
    const { direct, mode } = this.#loading;
    return direct ? native.openImageDirect(this.path, mode) : this.openPrivately();
  }

  /** Loads the private copy in either mode: the file itself may be another one by now. */
  openPrivately(): NativeImage {
    return native.openImage(this.path, this.snapshot, this.#loading.mode);
  }

  /** Gives the private copy up; an image that was opened from it keeps its own. */
  release(): void {
    this.snapshot.release();
  }

  describe(image: NativeImage, generation: number): ImageInfo {
    const { device, inode, size, mtimeNs, buildId } = this.snapshot;
    const { base, loaderName: mappedFrom } = image;
    return { generation, device, inode, size, mtimeNs, buildId, base, mappedFrom };
  }
}

export function missingSymbols(path: string, names: readonly string[]): SoError {
  const list = names.join(', ');
  const text = names.length === 1 ? `symbol ${list} is absent` : `symbols are absent: ${list}`;
  return new SoError('ERR_SOSWAP_MISSING_SYMBOL', `cannot use '${path}': ${text}`, path, names[0]);
}
