import type { FileWatchOptions } from '../files/file-watch.js';
import type { SoHandle } from '../handle/so-handle.js';
import { isTemporary } from '../internal/errors.js';
import { throwLater, warnIfUnheard } from '../internal/events.js';
import type { Outcome } from '../swap/together.js';
import { type Watch, watchFile } from '../triggers/watch.js';

/** The part of a group that its watch uses. */
export interface WatchedGroup {
  lineUp<T>(work: () => Promise<T>): Promise<T>;
  /** The members whose files were replaced. */
  replaced(): Promise<ReadonlySet<SoHandle>>;
  /** Swaps these members as one, with those that are bound to them. Reports nothing of a refusal. */
  attempt(members: ReadonlySet<SoHandle>): Promise<Attempt>;
  /** Returns the paths of the dependencies of its running image. */
  dependenciesOf(member: SoHandle): readonly string[];
  ended(watch: GroupWatch): void;
}

/** A swap of members, and what it threw. */
export interface Attempt {
  readonly outcome: Outcome;
  readonly error?: unknown;
}

/** A watch of each member of a group. */
export class GroupWatch implements Watch {
  readonly #watches = new Map<SoHandle, Watch>();
  /** Members with new files that were refused, and that have not changed since. */
  readonly #refused = new Set<SoHandle>();

  constructor(
    readonly options: FileWatchOptions,
    readonly group: WatchedGroup,
  ) {}

  add(member: SoHandle): void {
    let last: Outcome | undefined;
    const watch = watchFile(member.path, this.options, {
      take: async () => {
        const attempt = await this.group.lineUp(() => this.#swapAfter(member)); // which reports what took effect
        if (attempt?.error === undefined) return;
        last = attempt.outcome;
        throw attempt.error;
      },
      missing: () => throwLater(() => member.emit('missing', member.path)),
      dependencies: () => this.group.dependenciesOf(member),
      refused: (error) => {
        warnIfUnheard(member, error);
        last?.refused(error);
      },
      ended: () => this.#watches.delete(member),
    });
    this.#watches.set(member, watch);
  }

  /** After the file of a member has changed: swaps all that were replaced, or else those that were not refused before. */
  async #swapAfter(member: SoHandle): Promise<Attempt | undefined> {
    if (member.closed) {
      this.#watches.get(member)?.close();
      return undefined;
    }
    this.#refused.delete(member);
    const replaced = await this.group.replaced();
    if (!replaced.has(member)) return undefined; // others have watches of their own
    const fresh = new Set([...replaced].filter((each) => !this.#refused.has(each)));
    let attempt = await this.#attempt(replaced);
    if (attempt.error !== undefined && !isTemporary(attempt.error) && fresh.size < replaced.size) {
      attempt = await this.#attempt(fresh);
    }
    return attempt;
  }

  async #attempt(members: ReadonlySet<SoHandle>): Promise<Attempt> {
    const attempt = await this.group.attempt(members);
    for (const member of members) {
      if (attempt.error === undefined) this.#refused.delete(member);
      else if (!isTemporary(attempt.error)) this.#refused.add(member);
    }
    return attempt;
  }

  close(): void {
    for (const watch of [...this.#watches.values()]) watch.close();
    this.group.ended(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
