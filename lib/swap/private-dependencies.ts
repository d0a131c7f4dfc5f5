import { FunctionTable } from '../call/function-table.js';
import type { Definitions } from '../call/types.js';
import type { Binding } from '../image/candidate.js';
import { type Deployed, deployedWith } from '../image/deployed.js';
import type { FileStatus } from '../image/file-status.js';
import type { Generation, Replacing } from '../image/generation.js';
import type { Source } from '../image/source.js';
import { SoError } from '../internal/errors.js';
import type { Steps } from '../internal/steps.js';
import type { SwapPlan } from './plan.js';
import { SwapTarget } from './target.js';
import { type Partner, type Prepared, prepare, prepareEach } from './transaction.js';
import { type Company, type PlannedSwap, partnersOf } from './turns.js';

/** A library's own copies of what was deployed with it: libraries without functions, which are swapped with it as one. */
export class PrivateDependencies implements Company {
  readonly #library: SwapTarget;
  readonly #sourceOf: (path: string) => Source;
  /** By path. A path keeps its source: a copy of an earlier generation may need it again. */
  readonly #sources = new Map<string, Source>();
  /** By path, each after those that it needs. */
  readonly #targets = new Map<string, SwapTarget>();

  /** @param sourceOf Makes the source of one of them. */
  constructor(library: SwapTarget, sourceOf: (path: string) => Source) {
    this.#library = library;
    this.#sourceOf = sourceOf;
  }

  companionsOf(): [] {
    return [];
  }

  assertClosable(): void {}

  prepare(planned: readonly PlannedSwap[], began: bigint): Steps<Prepared[]> {
    const own = planned.find(({ turns }) => turns.target === this.#library) as PlannedSwap;
    return this.prepareAll(own.plan, began, partnersOf(own.turns, planned));
  }

  /** The first halves of the swaps of the library, which comes last, and of what it needs. */
  *prepareAll(
    plan: SwapPlan<Definitions>,
    began: bigint,
    others: readonly Partner[] = [],
  ): Steps<Prepared[]> {
    if (plan.from === 'history') return yield* this.#goBack(plan, began, others);
    const withoutVerify = { ...plan, verify: undefined, migrate: undefined, probation: undefined };
    const sourceOf = (path: string) => this.#targetOf(path).source;
    const all = yield* deployedWith(this.#library.source, sourceOf);
    const parts = all.map((library) =>
      library.source === this.#library.source
        ? { library, target: this.#library, plan }
        : { library, target: this.#targetOf(library.source.path), plan: withoutVerify },
    );
    const next = new Map<string, Generation>();
    const half = function* (part: (typeof parts)[number]) {
      const partners = [...parts.filter((each) => each !== part), ...others];
      const binding = bindingOf(part.library, next);
      const prepared = yield* prepare(part.target, part.plan, began, { partners, binding });
      next.set(part.target.path, prepared.next);
      return [prepared];
    };
    return yield* prepareEach(parts.map(half));
  }

  /** The same with the copies of an earlier generation. */
  *#goBack(
    plan: SwapPlan<Definitions>,
    began: bigint,
    others: readonly Partner[],
  ): Steps<Prepared[]> {
    const { candidate, copies } = this.#library.earlier;
    const parts = copies.map((earlier) =>
      earlier === candidate
        ? { earlier, target: this.#library, plan }
        : {
            earlier,
            target: this.#targetOf(earlier.path),
            plan: { ...plan, verify: undefined, migrate: undefined, probation: undefined },
          },
    );
    const next: Generation[] = [];
    const half = function* ({ earlier, target, plan }: (typeof parts)[number]) {
      earlier.rebind(next);
      const partners = [...parts.filter((each) => each.target !== target), ...others];
      const prepared = yield* prepare(target, plan, began, { partners, earlier });
      next.push(prepared.next);
      return [prepared];
    };
    return yield* prepareEach(parts.map(half));
  }

  /** What became of the files that the library runs with. */
  *fileStatus(replacing: Replacing): Steps<FileStatus> {
    for (const target of this.#used()) {
      const status = yield* target.running.fileStatus(replacing);
      if (status !== 'current') return status === 'missing' ? status : 'replaced';
    }
    return 'current';
  }

  /** The paths of those that the library runs with, and of what these need besides. */
  get paths(): readonly string[] {
    const used = this.#used();
    return used.flatMap(({ path, current }) => [path, ...(current?.image.dependencyPaths ?? [])]);
  }

  /** Closes those that the library does not run with any more; all if it is closed. */
  closeUnneeded(): void {
    const used = this.#used();
    for (const [path, target] of [...this.#targets].reverse()) {
      if (used.includes(target)) continue;
      this.#targets.delete(path);
      if (target.current !== undefined) target.close();
    }
  }

  endLives(): void {
    for (const target of this.#used().reverse()) target.endLife();
  }

  #used(): SwapTarget[] {
    const bound = this.#library.current?.candidate.withProviders() ?? [];
    const sources = new Set([...bound].map(({ source }) => source));
    return [...this.#targets.values()].filter(({ source }) => sources.has(source));
  }

  #targetOf(path: string): SwapTarget {
    const known = this.#targets.get(path);
    if (known !== undefined) return known;
    const source = this.#sources.get(path) ?? this.#sourceOf(path);
    this.#sources.set(path, source);
    const target = new SwapTarget(source, {}, new FunctionTable(source, {}));
    this.#targets.set(path, target);
    return target;
  }
}

/** Binds a library to the next images of what was deployed with it. */
function bindingOf({ needed, needs }: Deployed, next: ReadonlyMap<string, Generation>): Binding {
  return {
    offered: () =>
      [...needs].map(([name, path]) => {
        const { candidate, image } = next.get(path) as Generation;
        return { name, candidate, image };
      }),
    check: ({ path, links }) => {
      if (links.needed.join('\0') === needed.join('\0')) return;
      const message = `cannot copy '${path}': it was replaced while its dependencies were copied`;
      throw new SoError('ERR_SOSWAP_BEING_WRITTEN', message, path);
    },
  };
}
