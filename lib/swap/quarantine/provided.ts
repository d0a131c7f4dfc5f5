import { Candidate, type Provider } from '../../image/candidate.js';
import { neededEdits, plainSource } from '../../image/source.js';
import { dlopenFlags } from '../../internal/dlopen-flags.js';

/** The copy of a library in the child process of a quarantine. */
export interface TriedCopy {
  readonly path: string;
  /** The flags of dlopen(3). */
  readonly mode: number;
  /** Those that provide its dependencies, by their place in the list, and the names in the copy. */
  readonly provided: readonly (readonly [name: string, place: number])[];
}

/** The first descriptor of the copies that provide dependencies. */
const firstDescriptor = 6;

/** What the candidate is bound to, directly or not: each after what it is bound to itself. Last the candidate. */
export function withProviders(candidate: Candidate, all = new Set<Candidate>()): Candidate[] {
  for (const provider of candidate.providers) withProviders(provider.candidate, all);
  all.add(candidate);
  return [...all];
}

/** Describes them for the child. */
export function describeCopies(candidates: readonly Candidate[]): TriedCopy[] {
  return candidates.map(({ path, mode, providers, links }) => {
    const places = providers.map((provider) => candidates.indexOf(provider.candidate));
    const provided = places.map(
      (place, index) => [links.providedAs[index] as string, place] as const,
    );
    return { path, mode, provided };
  });
}

/** Takes the copies in the child, of which the last is that behind the descriptor `last`. Returns the candidate. */
export function adoptCopies(copies: readonly TriedCopy[], last: number): Candidate {
  const all: Candidate[] = [];
  for (const [index, { path, mode, provided }] of copies.entries()) {
    const offered = provided.map(([name, place]): Provider => {
      const candidate = all[place] as Candidate;
      return { name, candidate, image: candidate.newImage() };
    });
    // The parent has its copy open, and that copy is bound to functions of the parent.
    const edits = [...neededEdits, 'bind-imports'] as const;
    const ownFirst = (mode & dlopenFlags.RTLD_DEEPBIND) !== 0;
    const source = { ...plainSource(path, { allowWriter: true, ownFirst, edits }), mode };
    const descriptor = index === copies.length - 1 ? last : firstDescriptor + index;
    all.push(Candidate.adopt(source, `/proc/self/fd/${descriptor}`, offered));
  }
  return all.at(-1) as Candidate;
}
