import type { Candidate } from './candidate.js';
import type { Generation } from './generation.js';
import type { ImageInfo } from './image-info.js';
import { snapshotMapping } from './mapping.js';

/** An earlier generation whose private copy is kept. */
export interface Earlier {
  readonly info: ImageInfo;
  readonly candidate: Candidate;
  /** It and its own copies of its dependencies, each after those that it needs. */
  readonly copies: readonly Candidate[];
}

/** The earlier generations that a handle can go back to, and the one that it has gone back from. */
export class History {
  readonly #limit: number;
  /** The newest comes last. */
  readonly #earlier: Earlier[] = [];
  /** What it has gone back from since the last swap of another kind. */
  readonly #left: Earlier[] = [];

  /** @param limit The generations that it keeps. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** What a handle goes back to. */
  get newest(): Earlier | undefined {
    return this.#earlier.at(-1);
  }

  /** The copies of what the handle has gone back from, if nothing else was swapped since. */
  get left(): readonly (readonly Candidate[])[] {
    return this.#left.map(({ copies }) => copies);
  }

  /** The newest comes first. */
  get infos(): ImageInfo[] {
    return this.#earlier.map(({ info }) => info).reverse();
  }

  /** The bytes that the copies hold, with those of what the handle has gone back from. */
  get bytes(): number {
    const all = [...this.#earlier, ...this.#left];
    return all.reduce((sum, { info }) => sum + info.copySize, 0);
  }

  /**
   * Takes a generation over that another one has replaced.
   *
   * @param isBack The one that replaced it is {@link newest}.
   * @param withOwn Finds its own copies of its dependencies.
   * @returns The copies that nobody needs any more.
   */
  replaced(
    { info, candidate }: Generation,
    isBack: boolean,
    withOwn: (candidate: Candidate) => readonly Candidate[],
  ): Candidate[] {
    const dropped = isBack ? [] : this.#left.splice(0);
    if (isBack) for (const each of this.#earlier.pop()?.copies ?? []) each.isKept = false;
    if (this.#limit === 0 || candidate.mapping !== snapshotMapping) {
      return [candidate, ...release(dropped)];
    }
    const earlier = { info, candidate, copies: withOwn(candidate) };
    for (const each of earlier.copies) each.isKept = true;
    if (isBack) this.#left.push(earlier);
    else this.#earlier.push(earlier);
    if (this.#earlier.length > this.#limit) dropped.push(this.#earlier.shift() as Earlier);
    return release(dropped);
  }

  /** Gives all copies up. */
  clear(): void {
    const all = [...this.#earlier.splice(0), ...this.#left.splice(0)];
    for (const each of release(all)) each.release();
  }
}

function release(all: readonly Earlier[]): Candidate[] {
  const copies = all.flatMap((each) => each.copies);
  for (const each of copies) each.isKept = false;
  return copies;
}
