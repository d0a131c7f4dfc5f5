import { dlopenFlags } from './dlopen-flags.js';
import { SoError } from './errors.js';
import { FunctionTable } from './function-table.js';
import { Image } from './image.js';
import type { NativeLibrary, Resolution, SnapshotFacts, SnapshotOptions } from './native.js';
import type { ImageInfo, RetainReason } from './report.js';
import type { Definitions } from './signature.js';
import type { UnloadPolicy } from './swap-options.js';

/** How a handle loads its images. */
export interface Loading {
  /** The flags of dlopen(3). */
  readonly mode: number;
  /** Map the file itself, not a private copy. */
  readonly direct: boolean;
  /** Changes that the private copy gets before it is sealed. */
  readonly edits: SnapshotEdits;
}

/** What a private copy may differ in from the file, so that its image can be unmapped. */
export interface SnapshotEdits {
  /** STB_GNU_UNIQUE symbols become STB_GLOBAL. */
  readonly demoteUnique: boolean;
  /** DF_1_NODELETE is cleared, but never for Go. */
  readonly clearNoDelete: boolean;
  /** DF_SYMBOLIC is set: the image binds to its own symbols before those of older global images. */
  readonly symbolic: boolean;
}

/** A file that is about to become the next image: copied, inspected, accepted or refused; not loaded. */
export class Candidate {
  readonly path: string;
  readonly facts: SnapshotFacts;
  readonly #library: NativeLibrary;
  readonly #loading: Loading;
  /** An image of it that was tried, and cannot be unmapped without danger. */
  #tried: Image | undefined;

  private constructor(
    path: string,
    facts: SnapshotFacts,
    library: NativeLibrary,
    loading: Loading,
  ) {
    this.path = path;
    this.facts = facts;
    this.#library = library;
    this.#loading = loading;
  }

  static take(path: string, library: NativeLibrary, loading: Loading): Candidate {
    const facts = library.takeSnapshot(path, path, snapshotOptions(loading));
    return new Candidate(path, facts, library, loading);
  }

  /** The same, with the copy made and inspected on the thread pool. */
  static async takeAsync(path: string, library: NativeLibrary, loading: Loading) {
    const facts = await library.takeSnapshotAsync(path, path, snapshotOptions(loading));
    return new Candidate(path, facts, library, loading);
  }

  /** The copy that another process has taken of the file at `path`. */
  static adopt(copy: string, path: string, library: NativeLibrary, loading: Loading): Candidate {
    // That process has its copy open.
    const options = { ...snapshotOptions(loading), allowWriter: true };
    const facts = library.takeSnapshot(copy, path, options);
    return new Candidate(path, facts, library, loading);
  }

  /** The flags of dlopen(3) that it is loaded with. */
  get mode(): number {
    return this.#loading.mode;
  }

  /**
   * Refuses the candidate if it lacks one of `symbols`, a dependency or, where all are bound at once, a symbol
   * that it imports. Nothing is loaded for it.
   *
   * @param leaving The loader's name of the image that is closed before this one is opened.
   */
  check(symbols: readonly string[], leaving = ''): void {
    this.#judge(this.#library.resolve(this.facts.id, symbols, this.#bindsNow, leaving));
  }

  /** The same on the thread pool. */
  async checkAsync(symbols: readonly string[], leaving: string): Promise<void> {
    this.#judge(await this.#library.resolveAsync(this.facts.id, symbols, this.#bindsNow, leaving));
  }

  /** Loads it beside whatever else is loaded, always from the private copy. */
  try(): Image {
    const local = this.#loading.mode & ~dlopenFlags.RTLD_GLOBAL;
    return this.#takeTried() ?? this.#openImage(local, 0, false);
  }

  /** Unmaps what {@link try} loaded, unless that could crash the process: then it is {@link open}'s. */
  endTrial(image: Image): void {
    if (this.facts.unmapHazards.length > 0) this.#tried = image;
    else image.close();
  }

  /** Loads it as the handle wants it. */
  open(generation: number): Image {
    const { direct, mode } = this.#loading;
    return direct ? this.#openImage(mode, generation, true) : this.openPrivately(generation);
  }

  /** Loads the private copy in either mode: the file itself may be another one by now. */
  openPrivately(generation: number): Image {
    const image = this.#openImage(this.#loading.mode, generation, false);
    this.#takeTried()?.close(); // the loader has given out the same image again
    return image;
  }

  /** Functions of their own for images of it. */
  functionTable<D extends Definitions>(definitions: D): FunctionTable<D> {
    return new FunctionTable(this.path, this.#library, definitions);
  }

  /** Whether the file holds the bytes that this candidate was made of. */
  stillInFile(): boolean {
    try {
      const now = Candidate.take(this.path, this.#library, this.#loading);
      const same = this.#library.sameBytes(now.facts.id, this.facts.id);
      now.release();
      return same;
    } catch {
      return false; // it cannot even be a candidate
    }
  }

  /** Gives the private copy up; an image that was opened from it keeps its own. Once more does nothing. */
  release(): void {
    this.#takeTried()?.keep(this.facts.unmapHazards);
    this.#library.releaseSnapshot(this.facts.id);
  }

  /** Why an image of it must stay mapped under this policy; empty if it can go. */
  reasonsToKeep(unload: UnloadPolicy): readonly RetainReason[] {
    if (unload === 'never') return [{ code: 'kept', detail: "unload is 'never'" }];
    return unload === 'auto' ? this.facts.unmapHazards : [];
  }

  /** Unmaps its image, or leaves it mapped where the policy says so. Tells why it is still there. */
  giveUp(image: Image, unload: UnloadPolicy): readonly RetainReason[] {
    const reasons = this.reasonsToKeep(unload);
    if (reasons.length === 0) return image.close();
    image.keep(reasons);
    return reasons;
  }

  describe(image: Image, generation: number): ImageInfo {
    const { device, inode, size, mtimeNs, buildId } = this.facts;
    const { base, loaderName: mappedFrom } = image;
    return { generation, device, inode, size, mtimeNs, buildId, base, mappedFrom };
  }

  get #bindsNow(): boolean {
    return (this.#loading.mode & dlopenFlags.RTLD_NOW) !== 0;
  }

  #openImage(mode: number, generation: number, direct: boolean): Image {
    const facts = this.#library.openImage(this.facts.id, mode, generation, direct);
    return new Image(this.#library, facts);
  }

  #judge({ missing, undefined: unprovided }: Resolution): void {
    if (missing.length > 0) throw missingSymbols(this.path, missing);
    if (unprovided.length > 0) throw undefinedSymbols(this.path, unprovided);
  }

  #takeTried(): Image | undefined {
    const image = this.#tried;
    this.#tried = undefined;
    return image;
  }
}

export function missingSymbols(path: string, names: readonly string[]): SoError {
  const list = names.join(', ');
  const text = names.length === 1 ? `symbol ${list} is absent` : `symbols are absent: ${list}`;
  return new SoError('ERR_SOSWAP_MISSING_SYMBOL', `cannot use '${path}': ${text}`, path, names[0]);
}

function undefinedSymbols(path: string, symbols: Resolution['undefined']): SoError {
  const list = symbols.map(({ name, version, neededBy }) => {
    const wanted = version === '' ? name : `${name}@${version}`;
    return neededBy === path ? wanted : `${wanted} (needed by ${neededBy})`;
  });
  const message = `cannot load '${path}': nothing provides ${list.join(', ')}`;
  return new SoError('ERR_SOSWAP_UNDEFINED_SYMBOL', message, path, symbols[0]?.name);
}

function snapshotOptions({ edits }: Loading): SnapshotOptions {
  // For tests, and for systems that forbid executable memfds in a way that shows too late.
  const inPrivateFile = process.env.SOSWAP_SNAPSHOT === 'file';
  return { ...edits, inPrivateFile, allowWriter: false };
}
