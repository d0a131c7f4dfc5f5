import { withJson } from '../internal/json.js';
import type { Steps } from '../internal/steps.js';
import type { Candidate } from './candidate.js';
import type { FileStatus } from './file-status.js';
import type { Image } from './image.js';
import type { CandidateInfo, ImageInfo, RetainReason, UnloadPolicy } from './image-info.js';

/** What of a swap decides whether it replaces dependencies too. */
export interface Replacing {
  readonly isBeside?: boolean;
  readonly unload: UnloadPolicy;
  readonly verify?: unknown;
}

/** One generation of a handle: a candidate, the image that was loaded from it, and what is known of both. */
export class Generation {
  /** Why the image was still mapped after an exchange closed it; `undefined` if none did. */
  closed: readonly RetainReason[] | undefined;
  /** How often an exchange has closed its image and loaded it anew. */
  restored = 0;
  #info: ImageInfo | undefined;

  constructor(
    /** 1 for the first of a handle. */
    readonly number: number,
    readonly candidate: Candidate,
    readonly image: Image,
  ) {}

  /** Its image was closed by an exchange, which then loaded it anew. */
  openedAgain(): void {
    this.restored += 1;
    this.closed = undefined;
    this.#info = undefined;
    this.image.facts = undefined;
    this.candidate.opened(this.image);
  }

  /** Whether its image is open, and has hooks or keeps variables. */
  get hasLife(): boolean {
    return this.image.isOpen && this.image.facts.kept !== undefined;
  }

  /** Whether its image would stay mapped if it was closed now. */
  staysMapped(unload: UnloadPolicy): boolean {
    return this.candidate.staysMapped(unload) || (unload === 'auto' && this.image.inUse.length > 0);
  }

  /** What became of its file since, and of the files of its dependencies where a swap of this plan would take them. */
  *fileStatus({ isBeside = false, unload, verify }: Replacing): Steps<FileStatus> {
    const status = yield* this.candidate.file.status();
    if (status !== 'current') return status;
    const isStale = (closes: boolean) => this.image.hasStaleDependency(closes, unload === 'always');
    const isClosedFirst = !isBeside && verify === undefined;
    if (!isStale(isClosedFirst)) return 'current';
    return this.staysMapped(unload) && !isStale(false) ? 'current' : 'replaced';
  }

  /** First asked for while the image is open. */
  get info(): ImageInfo {
    this.#info ??= this.#describe();
    return this.#info;
  }

  /** What of it is known before the image is open. */
  get candidateInfo(): CandidateInfo {
    const { device, inode, size, mtimeNs, buildId } = this.candidate.facts;
    return withJson({ generation: this.number, device, inode, size, mtimeNs, buildId });
  }

  #describe(): ImageInfo {
    const { device, inode, size, mtimeNs, buildId } = this.candidate.facts;
    const { base, mappedFrom, copySize } = this.image.facts;
    return withJson({
      generation: this.number,
      device,
      inode,
      size,
      mtimeNs,
      buildId,
      base,
      mappedFrom,
      copySize,
    });
  }
}
