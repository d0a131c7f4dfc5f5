import { Candidate, type Provider } from '../../image/candidate.js';
import type { Image } from '../../image/image.js';
import type { UnloadPolicy } from '../../image/image-info.js';
import { neededEdits, plainSource } from '../../image/source.js';
import { dlopenFlags } from '../../internal/dlopen-flags.js';
import { firstCopyDescriptor, type TriedCopy } from './trial-request.js';

/** Describes copies for the child; each comes after those that it is bound to. */
export function describeCopies(candidates: readonly Candidate[]): TriedCopy[] {
  return candidates.map(({ path, mode, providers, links }) => {
    const provided = providers.map(
      (provider, index) =>
        [links.providedAs[index] as string, candidates.indexOf(provider.candidate)] as const,
    );
    return { path, mode, provided };
  });
}

/** A copy in the child, and its only image. */
export interface AdoptedCopy {
  readonly candidate: Candidate;
  readonly image: Image;
}

/** Takes the copies over in the child. */
export function adoptCopies(copies: readonly TriedCopy[], unload: UnloadPolicy): AdoptedCopy[] {
  const all: AdoptedCopy[] = [];
  for (const [index, { path, mode, provided }] of copies.entries()) {
    const offered = provided.map(
      ([name, place]): Provider => ({ name, ...(all[place] as AdoptedCopy) }),
    );
    // The parent has its copy open, and that copy is bound to functions of the parent.
    const edits = [...neededEdits, 'bind-imports'] as const;
    const ownFirst = (mode & dlopenFlags.RTLD_DEEPBIND) !== 0;
    const source = plainSource(path, { allowWriter: true, ownFirst, edits });
    const copy = `/proc/self/fd/${firstCopyDescriptor + index}`;
    const candidate = Candidate.adopt({ ...source, mode, unload }, copy, offered);
    all.push({ candidate, image: candidate.newImage() });
  }
  return all;
}
