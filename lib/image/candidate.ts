import { basename } from 'node:path';
import type { FunctionTable } from '../call/function-table.js';
import { dlopenFlags } from '../internal/dlopen-flags.js';
import {
  cLibrary,
  missingSymbols,
  replacedDependencies,
  SoError,
  staleImage,
  undefinedSymbols,
} from '../internal/errors.js';
import { type Steps, step } from '../internal/steps.js';
import { native } from '../native/addon.js';
import type {
  ImageRequest,
  Needs,
  Provision,
  Resolution,
  SnapshotFacts,
  SnapshotLinks,
  StaleImage,
} from '../native/types.js';
import { FileComparison } from './file-status.js';
import { Image } from './image.js';
import type { RetainReason, UnloadPolicy } from './image-info.js';
import { loadedMapping, type Mapping } from './mapping.js';
import type { Source } from './source.js';

const none: readonly RetainReason[] = [];

const byCalls: readonly RetainReason[] = [
  {
    code: 'calls-in-flight',
    detail: 'calls are in flight in it; it is unmapped when they have returned',
  },
];

/** An image of another handle that a library is bound to. */
export interface Provider {
  /** The dependency that the image is, as DT_NEEDED of the library has it. */
  readonly name: string;
  readonly candidate: Candidate;
  /** An image of the candidate, which the same exchange opens if it is not open. */
  readonly image: Image;
}

/** What binding the candidate must find. */
export interface Requirements {
  /** Its functions, but for the optional ones. */
  readonly table: FunctionTable;
  /** The loader's names of the images that are closed before this candidate is loaded, with what only these need. */
  readonly closingImages?: readonly string[];
  /** Whether its dependencies are closed too that are kept otherwise. */
  readonly closesAll?: boolean;
}

/** How a library is bound to images of other handles. */
export interface Binding {
  /** What it is bound to, if it needs it. Asked for when the file is copied. */
  offered(): readonly Provider[];
  /** Throws what is wrong about those that it needs. */
  check(candidate: Candidate): void;
}

/** A file that is about to become the next image: copied, inspected, accepted or refused; not loaded. */
export class Candidate {
  /** Why unmapping an image of it could crash the process, whatever it does. */
  readonly hazards: readonly RetainReason[];
  /** The images of other handles that it is bound to, in the order of DT_NEEDED. */
  providers: readonly Provider[] = [];
  /** A handle may go back to it: {@link release} does nothing. */
  isKept = false;

  #file: FileComparison | undefined;

  private constructor(
    /** Where it was taken from. */
    readonly source: Source,
    readonly facts: SnapshotFacts,
    /** Those that were offered, in any order. */
    offered: readonly Provider[] = [],
  ) {
    this.hazards = this.mapping === loadedMapping ? none : facts.unmapHazards; // that is not unmapped
    if (offered.length === 0) return;
    const { provided } = this.links;
    this.providers = provided.map((needed) => {
      const found = offered.find(({ name }) => answers(name, needed)) as Provider;
      return { ...found, name: needed };
    });
  }

  /**
   * Copies and inspects the file, and loads nothing. Refuses a file that cannot be loaded; with `requirements` also one
   * that lacks a symbol, a dependency or, where all imports are bound at once, a symbol that it imports.
   */
  static *take(source: Source, requirements?: Requirements, binding?: Binding): Steps<Candidate> {
    const { path, library } = source;
    const offered = binding?.offered() ?? [];
    const provided = provisions(offered);
    const needs = needsOf(source, requirements);
    const facts = yield* step(
      () => library.takeSnapshot(path, provided, ...needs),
      () => library.takeSnapshotAsync(path, provided, ...needs),
    );
    const candidate = new Candidate(source, facts, offered);
    try {
      if (requirements !== undefined && facts.cLibrary === 'foreign') {
        throw cLibrary(path, 'load', 'a process cannot run two; open it by its bare name');
      }
      binding?.check(candidate);
      if (facts.resolution !== null) {
        const { missing } = facts.resolution;
        if (missing.length > 0) throw candidate.lacks(missing);
        assertResolved(path, facts.resolution);
      }
    } catch (error) {
      candidate.release();
      throw error;
    }
    return candidate;
  }

  /**
   * Takes the copy of the source's file that another process made.
   *
   * @param offered Each by its name in {@link SnapshotLinks.providedAs} there.
   */
  static adopt(source: Source, copy: string, offered: readonly Provider[] = []): Candidate {
    return new Candidate(source, source.library.takeSnapshot(copy, provisions(offered)), offered);
  }

  /**
   * Binds the images that are opened from now on to others of the same libraries.
   *
   * @throws {SoError} `ERR_SOSWAP_NOT_BOUND`: none of these is one of a library that it needs.
   */
  rebind(offered: readonly Pick<Provider, 'candidate' | 'image'>[]): void {
    this.providers = this.providers.map(({ name, candidate: { source } }) => {
      const found = offered.find(({ candidate }) => candidate.source === source);
      if (found === undefined) {
        const message = `cannot bind '${this.path}': it needs '${name}', and '${source.path}' is closed`;
        throw new SoError('ERR_SOSWAP_NOT_BOUND', message, this.path);
      }
      return { name, candidate: found.candidate, image: found.image };
    });
  }

  /** It and what it is bound to, directly or not: each after what it is bound to itself. */
  withProviders(all = new Set<Candidate>()): Set<Candidate> {
    for (const { candidate } of this.providers) candidate.withProviders(all);
    return all.add(this);
  }

  get path(): string {
    return this.source.path;
  }

  /** The names by which the loader links it. */
  get links(): SnapshotLinks {
    return this.source.library.links(this.facts.id);
  }

  /** The flags of dlopen(3) that it is loaded with. */
  get mode(): number {
    return this.facts.ownFirst ? this.source.mode | dlopenFlags.RTLD_DEEPBIND : this.source.mode;
  }

  /** What its images are mapped from. */
  get mapping(): Mapping {
    return this.facts.cLibrary === 'own' ? loadedMapping : this.source.mapping;
  }

  /** An image of it that is not loaded yet. */
  newImage(): Image {
    return new Image(this.source.library);
  }

  /** How the addon loads it, by default as its source wants it. */
  request(
    generation: number,
    mapping = this.mapping.name,
    mode = this.mode,
    standIns?: ReadonlyMap<Candidate, Image>,
  ): ImageRequest {
    const mayUnmap = this.reasonsToKeep(this.source.unload).length === 0;
    const providers = this.providers.map(({ candidate, image }) => {
      const provider = standIns?.get(candidate) ?? image;
      return provider.isOpen ? provider.facts.loaderName : '';
    });
    return [this.facts.id, mapping, mode, generation, mayUnmap, providers];
  }

  /** Loads it as `image`, beside the image that runs. */
  open(image: Image, generation: number): void {
    this.#load(image, this.request(generation));
  }

  /**
   * Loads its private copy beside the image that runs, with symbols that no other library can find.
   *
   * @param standIns Takes the images that are loaded only for it to be bound to, in order.
   */
  openTrial(standIns = new Map<Candidate, Image>()): Image {
    for (const { candidate, image } of this.providers) {
      if (image.isOpen || standIns.has(candidate)) continue;
      standIns.set(candidate, candidate.openTrial(standIns));
    }
    const image = this.newImage();
    const local = this.mode & ~dlopenFlags.RTLD_GLOBAL;
    const mapping = this.mapping === loadedMapping ? 'loaded' : 'snapshot';
    this.#load(image, this.request(0, mapping, local, standIns));
    try {
      image.load();
    } catch (error) {
      this.retire(image);
      throw error;
    }
    return image;
  }

  #load(image: Image, request: ImageRequest): void {
    try {
      this.source.library.openImage(image.id, ...request);
      this.opened(image);
    } catch (error) {
      this.retire(image); // JavaScript that a constructor called threw
      throw error;
    }
  }

  /** Loads it as `image` on another thread, which also looks up what `table` binds. */
  async openAsync(image: Image, generation: number, table: FunctionTable): Promise<void> {
    await this.source.library.openImageAsync(image.id, ...this.request(generation), table.slots);
    this.opened(image);
  }

  /** Removes from the retained images an image that the loader returned: it may be one that was retained before. */
  opened(image: Image): void {
    this.source.retained.remove(image.facts);
  }

  /** Why an image of it must stay mapped under this policy; empty if it can go. */
  reasonsToKeep(unload: UnloadPolicy): readonly RetainReason[] {
    if (unload === 'never') return [{ code: 'kept', detail: "unload is 'never'" }];
    return unload === 'auto' ? this.hazards : none;
  }

  /** Whether an image of it is sure to stay mapped under this policy. */
  staysMapped(unload: UnloadPolicy): boolean {
    if (this.mapping === loadedMapping) return false; // it is not retained
    return this.facts.staysMapped || this.reasonsToKeep(unload).length > 0;
  }

  /** Unmaps its image if it is open, or leaves it mapped where the policy says so. Returns why it is still mapped. */
  retire(image: Image, unload: UnloadPolicy = this.source.unload): readonly RetainReason[] {
    if (!image.isOpen) return [];
    const reasons = this.reasonsToKeep(unload);
    if (reasons.length > 0) return this.keep(image, reasons);
    try {
      return this.closed(image, image.close(unload === 'always'));
    } catch (error) {
      // JavaScript that a destructor called threw, say. The loader decides whether the image is gone.
      const isGone = !image.isOpen && !native.isLoaded(image.facts.loaderName);
      return this.closed(image, isGone ? [] : [{ code: 'unknown', detail: `${error}` }]);
    }
  }

  /**
   * The same on another thread, which also releases the private copies of `dropped`; on this one if no thread can be had.
   */
  async retireAsync(
    image: Image,
    unload: UnloadPolicy,
    dropped: readonly Candidate[] = [this],
  ): Promise<readonly RetainReason[]> {
    if (this.reasonsToKeep(unload).length > 0) return this.retire(image, unload);
    const copies = dropped.filter(({ isKept }) => !isKept).map(({ facts }) => facts.id);
    try {
      return this.closed(image, await image.closeAsync(copies, unload === 'always'));
    } catch {
      return this.retire(image, unload);
    }
  }

  /** Gives an image up that a trial has used, and that unmapping at once could make crash the process. */
  giveUp(image: Image): void {
    if (this.hazards.length > 0) this.keep(image);
    else this.retire(image, 'auto');
  }

  /** Leaves its image mapped for these reasons, by default those why unmapping could crash the process. */
  keep(image: Image, reasons: readonly RetainReason[] = this.hazards): readonly RetainReason[] {
    image.keep(reasons);
    return this.closed(image, reasons);
  }

  /** Counts an image that was closed, if it is still mapped for these reasons. */
  closed(image: Image, retained: readonly RetainReason[]): readonly RetainReason[] {
    if (retained.length > 0) this.source.retained.add(image.facts);
    return retained;
  }

  /** Counts an image that no function runs as retained, while calls are in flight in it. Returns why it is still mapped. */
  leaveToCalls(image: Image): readonly RetainReason[] {
    image.markRetained(byCalls);
    return this.closed(image, byCalls);
  }

  /** Gives the private copy up; an image that was opened from it keeps its own. A second call has no effect. */
  release(): void {
    if (!this.isKept) this.source.library.releaseSnapshot(this.facts.id);
  }

  /** Creates the error that says that it lacks these symbols. */
  lacks(symbols: readonly string[]): SoError {
    const { path, library } = this.source;
    const hints = symbols.map((symbol) => library.nameHints(this.facts.id, symbol));
    return missingSymbols(path, symbols, hints);
  }

  /** What became of the file since this candidate was taken from it. */
  get file(): FileComparison {
    this.#file ??= new FileComparison(this.source, this.facts);
    return this.#file;
  }
}

/** Whether the library of this name is what an entry of DT_NEEDED means; native/core/resolve/inspected_snapshot.cc. */
export function answers(name: string, needed: string): boolean {
  return name === needed || (!needed.startsWith('/') && name === basename(needed));
}

function provisions(offered: readonly Provider[]): Provision[] {
  return offered.map(({ name, candidate: { source, facts } }) => [name, source.library, facts.id]);
}

function needsOf({ mode }: Source, requirements?: Requirements): Needs | [] {
  if (requirements === undefined) return [];
  const { table, closingImages = [], closesAll = false } = requirements;
  return [table.slots, (mode & dlopenFlags.RTLD_NOW) !== 0, closingImages, closesAll];
}

/** Throws what the loader would find wrong. */
export function assertResolved(path: string, resolution: Resolution): void {
  const { undefined: absent, stale, replaced } = resolution;
  if (absent.length > 0) throw undefinedSymbols(path, absent);
  if (stale.length > 0) throw staleImage(path, stale[0] as StaleImage);
  if (replaced.length > 0) throw replacedDependencies(path, replaced);
}
