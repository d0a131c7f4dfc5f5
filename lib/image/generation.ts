import { withJson } from '../internal/json.js';
import type { Candidate } from './candidate.js';
import type { Image } from './image.js';
import type { CandidateInfo, ImageInfo, RetainReason } from './image-info.js';

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
