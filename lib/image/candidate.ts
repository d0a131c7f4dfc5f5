import { FunctionTable } from '../call/function-table.js';
import type { Definitions } from '../call/signature.js';
import { dlopenFlags } from '../internal/dlopen-flags.js';
import { SoError } from '../internal/errors.js';
import type {
  ImageFacts,
  ImageRequest,
  NativeLibrary,
  Needs,
  Resolution,
  SnapshotFacts,
} from '../native/addon.js';
import type { UnloadPolicy } from '../swap/plan.js';
import type { ImageInfo, RetainReason } from '../swap/report.js';
import { type FileStatus, statusWithoutReading } from './file-status.js';
import { Image } from './image.js';
import type { Source } from './source.js';

/** What binding the candidate must find. */
export interface Demands {
  /** Its functions, but for the optional ones. */
  readonly table: FunctionTable;
  /** The loader's name of the image that is closed before this one is opened. */
  readonly leaving?: string;
}

/** A file that is about to become the next image: copied, inspected, accepted or refused; not loaded. */
export class Candidate {
  readonly facts: SnapshotFacts;
  readonly #source: Source;
  /** An image of it that was tried, and cannot be unmapped without danger. */
  #tried: Image | undefined;
  #released = false;

  private constructor(source: Source, facts: SnapshotFacts) {
    this.facts = facts;
    this.#source = source;
  }

  /**
   * Refuses a file that cannot be loaded, nothing being loaded for that. With `demands` also one that lacks a symbol,
   * a dependency or, where all are bound at once, a symbol that it imports.
   */
  static take(source: Source, demands?: Demands): Candidate {
    const { path, library } = source;
    return Candidate.#judged(source, library.takeSnapshot(path, ...needsOf(source, demands)));
  }

  /** The same, with the copy made and inspected on another thread. */
  static async takeAsync(source: Source, demands?: Demands): Promise<Candidate> {
    const { path, library } = source;
    const facts = await library.takeSnapshotAsync(path, ...needsOf(source, demands));
    return Candidate.#judged(source, facts);
  }

  /** The copy of the source's file that another process has taken. */
  static adopt(source: Source, copy: string): Candidate {
    return new Candidate(source, source.library.takeSnapshot(copy));
  }

  static #judged(source: Source, facts: SnapshotFacts): Candidate {
    const candidate = new Candidate(source, facts);
    try {
      if (facts.resolution !== null) judge(source.path, facts.resolution);
    } catch (error) {
      candidate.release();
      throw error;
    }
    return candidate;
  }

  get path(): string {
    return this.#source.path;
  }

  /** The flags of dlopen(3) that it is loaded with. */
  get mode(): number {
    return this.#source.mode;
  }

  /** Loads it beside whatever else is loaded, always from the private copy. */
  try(): Image {
    const local = this.mode & ~dlopenFlags.RTLD_GLOBAL;
    return this.#takeTried() ?? this.#image(this.#library.openImage(...this.#request(0, local)));
  }

  /** Unmaps what {@link try} loaded, unless that could crash the process: then it is {@link open}'s. */
  endTrial(image: Image): void {
    if (this.#hazards.length === 0) {
      this.#closed(image, image.close());
    } else if (this.#released) {
      this.#keep(image, this.#hazards);
    } else {
      this.#tried = image;
    }
  }

  /** Loads it as the handle wants it. */
  open(generation: number): Image {
    if (!this.#source.direct) return this.openPrivately(generation);
    return this.#image(this.#library.openFile(...this.#request(generation)));
  }

  /** Loads it beside the image that runs, on another thread, which also looks up what `table` binds. */
  async openAside(generation: number, { slots }: FunctionTable): Promise<Image> {
    const request = this.#request(generation);
    return this.#takeOver(this.#image(await this.#library.openImageAsync(...request, slots)));
  }

  /** Loads the private copy in either mode: the file itself may be another one by now. */
  openPrivately(generation: number): Image {
    return this.#takeOver(this.#image(this.#library.openImage(...this.#request(generation))));
  }

  /** Takes `image` back after a close that did not unmap it. */
  reopen({ loaderName }: Image, generation: number): Image {
    return this.#image(this.#library.reopenImage(...this.#request(generation), loaderName));
  }

  /** Functions of their own for images of it. */
  functionTable<D extends Definitions>(definitions: D): FunctionTable<D> {
    return new FunctionTable(this.path, this.#library, definitions);
  }

  /**
   * What became of the file since this candidate was taken from it. If it was touched, or overwritten with as many
   * bytes, it is read and compared. What is being written counts as overwritten.
   *
   * @throws {SoError} `ERR_SOSWAP_UNREADABLE`.
   */
  fileStatus(): FileStatus {
    const status = statusWithoutReading(this.path, this.facts);
    if (status !== undefined) return status;
    try {
      const same = this.#library.stillInFile(this.facts.id);
      return same ? 'current' : 'overwritten';
    } catch (error) {
      if (error instanceof SoError && error.code === 'ERR_SOSWAP_BEING_WRITTEN')
        return 'overwritten';
      throw error;
    }
  }

  /**
   * The same with the reading done on another thread.
   *
   * @returns Rejects with `ERR_SOSWAP_BEING_WRITTEN` where that is so: the bytes may come out as they were.
   */
  async fileStatusAsync(): Promise<FileStatus> {
    const status = statusWithoutReading(this.path, this.facts);
    if (status !== undefined) return status;
    const same = await this.#library.stillInFileAsync(this.facts.id);
    return same ? 'current' : 'overwritten';
  }

  /** Why an image of it must stay mapped under this policy; empty if it can go. */
  reasonsToKeep(unload: UnloadPolicy): readonly RetainReason[] {
    if (unload === 'never') return [{ code: 'kept', detail: "unload is 'never'" }];
    return unload === 'auto' ? this.#hazards : [];
  }

  /** Whether an image of it is sure to stay mapped under this policy. */
  stays(unload: UnloadPolicy): boolean {
    return this.facts.staysMapped || this.reasonsToKeep(unload).length > 0;
  }

  /** Unmaps its image, or leaves it mapped where the policy says so. Tells why it is still there. */
  giveUp(image: Image, unload: UnloadPolicy): readonly RetainReason[] {
    const reasons = this.reasonsToKeep(unload);
    if (reasons.length > 0) {
      this.#keep(image, reasons);
      return reasons;
    }
    return this.#closed(image, image.close());
  }

  /** The same on another thread, which also releases the private copy. */
  async giveUpAside(image: Image, unload: UnloadPolicy): Promise<readonly RetainReason[]> {
    if (this.reasonsToKeep(unload).length > 0) return this.giveUp(image, unload);
    return this.#closed(image, await image.closeAside(this.facts.id));
  }

  /** Gives the private copy up; an image that was opened from it keeps its own. Once more does nothing. */
  release(): void {
    this.#released = true;
    const tried = this.#takeTried();
    if (tried !== undefined) this.#keep(tried, this.#hazards);
    this.#library.releaseSnapshot(this.facts.id);
  }

  describe(image: Image, generation: number): ImageInfo {
    const { device, inode, size, mtimeNs, buildId } = this.facts;
    const { base, loaderName: mappedFrom } = image;
    return { generation, device, inode, size, mtimeNs, buildId, base, mappedFrom };
  }

  /** Why unmapping an image of it could crash the process. */
  get #hazards(): readonly RetainReason[] {
    return [...this.facts.unmapHazards, ...(this.facts.resolution?.hazards ?? [])];
  }

  get #library(): NativeLibrary {
    return this.#source.library;
  }

  #request(generation: number, mode = this.mode): ImageRequest {
    const mayUnmap = this.reasonsToKeep(this.#source.unload).length === 0;
    return [this.facts.id, mode, generation, mayUnmap];
  }

  #image(facts: ImageFacts): Image {
    const image = new Image(this.#library, facts);
    this.#source.retained.remove(image); // the loader may have given out one that was left mapped
    return image;
  }

  /** The loader has given out the image once more that was tried before. */
  #takeOver(image: Image): Image {
    this.#takeTried()?.close();
    return image;
  }

  #closed(image: Image, retained: readonly RetainReason[]): readonly RetainReason[] {
    if (retained.length > 0) this.#source.retained.add(image);
    return retained;
  }

  #keep(image: Image, reasons: readonly RetainReason[]): void {
    image.keep(reasons);
    this.#source.retained.add(image);
  }

  #takeTried(): Image | undefined {
    const image = this.#tried;
    this.#tried = undefined;
    return image;
  }
}

function needsOf({ mode }: Source, demands?: Demands): Needs | [] {
  if (demands === undefined) return [];
  return [demands.table.slots, (mode & dlopenFlags.RTLD_NOW) !== 0, demands.leaving ?? ''];
}

/** Throws what binding would find wrong. */
function judge(path: string, { missing, undefined: absent, replaced }: Resolution): void {
  if (missing.length > 0) throw missingSymbols(path, missing);
  if (absent.length > 0) throw undefinedSymbols(path, absent);
  if (replaced.length > 0) throw replacedDependencies(path, replaced);
}

export function missingSymbols(path: string, names: readonly string[]): SoError {
  const list = names.join(', ');
  const text = names.length === 1 ? `symbol ${list} is absent` : `symbols are absent: ${list}`;
  return new SoError('ERR_SOSWAP_MISSING_SYMBOL', `cannot use '${path}': ${text}`, path, names[0]);
}

function replacedDependencies(path: string, files: readonly string[]): SoError {
  const message =
    `cannot load '${path}': it needs ${files.join(', ')}, replaced since it was loaded, and the loader would bind to ` +
    "the old one: close what else holds it; swap with order 'close-first' and without verify";
  return new SoError('ERR_SOSWAP_REPLACED_DEPENDENCY', message, path);
}

function undefinedSymbols(path: string, symbols: Resolution['undefined']): SoError {
  const list = symbols.map(({ name, version, neededBy }) => {
    const wanted = version === '' ? name : `${name}@${version}`;
    return neededBy === path ? wanted : `${wanted} (needed by ${neededBy})`;
  });
  const message = `cannot load '${path}': nothing provides ${list.join(', ')}`;
  return new SoError('ERR_SOSWAP_UNDEFINED_SYMBOL', message, path, symbols[0]?.name);
}
