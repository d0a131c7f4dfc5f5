import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { PreparedSwap } from '../handle/prepared-swap.js';
import { openHandles, turnsOf } from '../handle/registry.js';
import type { SoHandle } from '../handle/so-handle.js';
import { SoError } from '../internal/errors.js';
import { native } from '../native/addon.js';
import type { SwapReport } from '../swap/report.js';
import type {
  ControlError,
  ControlEvent,
  HandleFacts,
  HandleResult,
  RemoteSwapOptions,
  ThreadAnswers,
  ThreadRequest,
} from './messages.js';
import { means } from './names.js';

/** A swap of this thread that waits for the commit of the whole process, or that was just committed. */
interface Held {
  readonly prepared: readonly { readonly handle: SoHandle; readonly swap: PreparedSwap }[];
  /** Those that took effect, and their generations then. */
  readonly committed: Map<SoHandle, number>;
}

/** Does what a deployment asks of the handles of this thread. */
export class ThreadControl {
  readonly #thread = native.threadId();
  readonly #handles: () => Iterable<SoHandle>;
  readonly #tell: (event: ControlEvent) => void;
  readonly #held = new Map<string, Held>();
  /** The last step of each swap that has an id: the next one waits for it, whatever became of whoever asked for it. */
  readonly #steps = new Map<string, Promise<HandleResult[]>>();
  readonly #listeners: Readonly<Record<string, (message: unknown) => void>>;

  /** @param tell Called with each event of a handle; must not throw. */
  constructor(
    handles: (() => Iterable<SoHandle>) | undefined,
    tell: (event: ControlEvent) => void,
  ) {
    this.#handles = handles ?? (() => openHandles() as Iterable<SoHandle>);
    this.#tell = tell;
    this.#listeners = {
      'soswap:swap': (message) => {
        const { handle, report } = message as { handle: SoHandle; report: SwapReport };
        this.#emit('swap', handle.path, report);
      },
      'soswap:refused': (message) => {
        const { handle, error } = message as { handle: SoHandle; error: SoError };
        this.#emit('refused', handle.path, errorOf(error));
      },
      'soswap:unmapped': (message) => {
        const { handle, image } = message as { handle: SoHandle; image: object };
        this.#emit('unmapped', handle.path, image);
      },
      'soswap:rolledback': (message) => {
        const { handle, report, cause } = message as {
          handle: SoHandle;
          report: SwapReport;
          cause: unknown;
        };
        this.#emit('rolledback', handle.path, { report, cause: errorOf(cause) });
      },
    };
    for (const [name, listener] of Object.entries(this.#listeners)) subscribe(name, listener);
  }

  /** Discards what waits for a commit or is being prepared, and listens no more. */
  end(): void {
    for (const [name, listener] of Object.entries(this.#listeners)) unsubscribe(name, listener);
    for (const id of [...this.#held.keys()]) this.#discard(id);
    for (const id of this.#steps.keys()) void this.#next(id, () => this.#discard(id));
  }

  /** Answers a request. Never rejects. */
  async answer(request: ThreadRequest): Promise<Partial<ThreadAnswers>> {
    switch (request.action) {
      case 'handles':
        return { handles: await Promise.all(this.#open().map((each) => describe(each, request))) };
      case 'prepare':
        return { results: await this.#next(request.id, () => this.#prepare(request)) };
      case 'commit':
        return { results: await this.#next(request.id, () => this.#commit(request.id)) };
      case 'undo':
        return { results: await this.#next(request.id, () => this.#undo(request.id)) };
      case 'discard':
        return { results: await this.#next(request.id, () => this.#discard(request.id)) };
      case 'rollback':
        return { results: await this.#rollback(request.path, request.options) };
    }
  }

  /** Does a step of a swap after the step before it, which may have taken longer than anybody waited. */
  async #next(
    id: string,
    step: () => HandleResult[] | Promise<HandleResult[]>,
  ): Promise<HandleResult[]> {
    const before = this.#steps.get(id) ?? Promise.resolve([]);
    const last = before.then(step);
    this.#steps.set(id, last);
    const results = await last;
    if (this.#steps.get(id) === last) this.#steps.delete(id);
    return results;
  }

  #open(): SoHandle[] {
    return [...this.#handles()].filter(({ closed }) => !closed);
  }

  #of(path: string): SoHandle[] {
    return this.#open().filter((each) => means(path, each.path));
  }

  /** Prepares all handles of the library, or none. */
  async #prepare({
    id,
    path,
    options,
    force,
  }: Extract<ThreadRequest, { action: 'prepare' }>): Promise<HandleResult[]> {
    const results: HandleResult[] = [];
    const prepared: { handle: SoHandle; swap: PreparedSwap }[] = [];
    for (const handle of this.#of(path)) {
      try {
        if (!force && (await handle.statusAsync()) === 'current') {
          results.push(this.#result(handle, 'current'));
          continue;
        }
        const swap = await handle.prepare(options);
        prepared.push({ handle, swap });
        const { generation, buildId } = swap.candidate;
        results.push({ ...this.#result(handle, 'prepared'), generation, buildId });
      } catch (error) {
        results.push(this.#result(handle, 'refused', error));
        break;
      }
    }
    if (results.some(({ outcome }) => outcome === 'refused')) {
      for (const { swap } of prepared.reverse()) swap.discard();
      return results.map((each) =>
        each.outcome === 'prepared' ? { ...each, outcome: 'discarded' } : each,
      );
    }
    this.#held.set(id, { prepared, committed: new Map() });
    return results;
  }

  /** Commits all, one after the other. After a failure the rest is discarded; {@link #undo} takes the others back. */
  async #commit(id: string): Promise<HandleResult[]> {
    const held = this.#held.get(id);
    if (held === undefined) return [];
    const results: HandleResult[] = [];
    for (const { handle, swap } of held.prepared) {
      if (results.some(({ outcome }) => outcome === 'refused')) {
        swap.discard();
        results.push(this.#result(handle, 'discarded'));
        continue;
      }
      try {
        const { pauseMicroseconds } = await swap.commit();
        held.committed.set(handle, handle.generation);
        results.push({ ...this.#result(handle, 'committed'), pauseMicroseconds });
      } catch (error) {
        results.push(this.#result(handle, 'refused', error));
      }
    }
    return results;
  }

  /** Goes back from what was committed, and forgets it. */
  async #undo(id: string): Promise<HandleResult[]> {
    const committed = [...(this.#held.get(id)?.committed ?? [])];
    this.#held.delete(id);
    return Promise.all(
      committed.map(([handle, generation]) => {
        if (handle.generation === generation) return this.#goBack(handle, {});
        const message = `cannot take back generation ${generation} of '${handle.path}': it was swapped since`;
        const error = new SoError('ERR_SOSWAP_STALE_PREPARATION', message, handle.path);
        return this.#result(handle, 'refused', error);
      }),
    );
  }

  async #rollback(path: string, options: RemoteSwapOptions): Promise<HandleResult[]> {
    return Promise.all(this.#of(path).map((handle) => this.#goBack(handle, options)));
  }

  async #goBack(handle: SoHandle, options: RemoteSwapOptions): Promise<HandleResult> {
    try {
      const { pauseMicroseconds } = await handle.rollback(options);
      return { ...this.#result(handle, 'rolled-back'), pauseMicroseconds };
    } catch (error) {
      return this.#result(handle, 'refused', error);
    }
  }

  /** Also forgets what was committed. */
  #discard(id: string): HandleResult[] {
    const held = this.#held.get(id);
    this.#held.delete(id);
    const waiting = held?.prepared.filter(({ handle }) => !held.committed.has(handle)) ?? [];
    return waiting.map(({ handle, swap }) => {
      swap.discard();
      return this.#result(handle, 'discarded');
    });
  }

  #result(handle: SoHandle, outcome: HandleResult['outcome'], error?: unknown): HandleResult {
    const { path, generation, image } = handle;
    const facts = { thread: this.#thread, path, outcome, generation };
    const result = { ...facts, buildId: image?.buildId ?? null };
    return error === undefined ? result : { ...result, error: errorOf(error) };
  }

  #emit(event: ControlEvent['event'], path: string, data: object): void {
    this.#tell({ event, thread: this.#thread, path, data: JSON.parse(JSON.stringify(data)) });
  }
}

async function describe(
  handle: SoHandle,
  { reads }: { readonly reads: boolean },
): Promise<HandleFacts> {
  const { path, generation, image, history } = handle;
  const target = turnsOf(handle)?.target;
  return {
    thread: native.threadId(),
    path,
    generation,
    buildId: image?.buildId ?? null,
    status: await statusOf(handle, reads),
    history: history.map(({ generation, buildId }) => ({ generation, buildId })),
    callsInFlight: target?.current?.image.callsInFlight ?? 0,
    prepared: target?.prepared !== undefined,
  };
}

async function statusOf(handle: SoHandle, reads: boolean): Promise<string> {
  const target = turnsOf(handle)?.target;
  if (target?.current === undefined) return 'closed';
  if (!target.current.image.isOpen) return 'not-loaded';
  if (!reads) return 'loaded';
  try {
    return await handle.statusAsync();
  } catch (error) {
    return errorOf(error).code;
  }
}

/** What of an error can travel. */
export function errorOf(thrown: unknown): ControlError {
  if (thrown instanceof SoError) {
    const { code, message, outcome, path } = thrown;
    return { code, message, outcome, path };
  }
  const { code = 'ERR_SOSWAP_CONTROL', message = String(thrown) } = (thrown ?? {}) as {
    code?: string;
    message?: string;
  };
  return { code, message };
}
