import { randomUUID } from 'node:crypto';
import { SoError } from '../internal/errors.js';
import type { ControlError, HandleResult, RemoteSwapOptions, ThreadRequest } from './messages.js';
import { means } from './names.js';
import { hasPeer } from './peers.js';
import type { ThreadAnswer, Threads } from './threads.js';

/** Deployments of which a process knows that they were confirmed. */
const mostRemembered = 1000;

/** What a step of a deployment did in this process. */
export interface StepOutcome {
  /** Names the prepared swap; `undefined` if nothing waits for a commit. */
  readonly id?: string;
  readonly handles: readonly HandleResult[];
  /** Why it failed: nothing has changed, or `handles` says what has. */
  readonly error?: ControlError;
}

/** What is to be prepared. */
export interface PrepareRequest {
  readonly path: string;
  readonly options: RemoteSwapOptions;
  readonly force: boolean;
  /** Milliseconds after which the prepared swap is discarded, if nobody commits it. */
  readonly lease: number;
  /** Milliseconds that a thread may take to answer. */
  readonly timeout: number;
}

/** What is to be committed. */
export interface CommitRequest {
  readonly id: string;
  /** Milliseconds after which this process goes back, unless it gets the word; `undefined`: the commit is final. */
  readonly lease: number | undefined;
  /** The name of the deployment, which all of its processes know. */
  readonly deployment: string | undefined;
  /** The control sockets of those that take part. */
  readonly peers: readonly string[];
}

/** A step that the threads have not all answered. */
interface Step {
  readonly path: string;
  readonly outcome: Promise<StepOutcome>;
}

/** A swap with a lease. */
interface Waiting extends Partial<Pick<CommitRequest, 'deployment' | 'peers'>> {
  readonly path: string;
  readonly state: 'prepared' | 'committed';
  /** Milliseconds that a thread may take to answer. */
  readonly timeout: number;
  readonly timer: NodeJS.Timeout;
}

/** The deployments of this process: prepared in all of its threads, and committed in all, or in none. */
export class Deployments {
  readonly #threads: Threads;
  /** What waits for a commit, or for the word that the others have committed too, by id. */
  readonly #waiting = new Map<string, Waiting>();
  readonly #steps = new Set<Step>();
  /** The deployments that were confirmed last. */
  readonly #confirmed = new Set<string>();
  #isEnded = false;

  constructor(threads: Threads) {
    this.#threads = threads;
  }

  /** Prepares in all threads, or in none: one deployment of a library at a time. */
  async prepare(request: PrepareRequest): Promise<StepOutcome> {
    const message = this.#reasonToWait(request.path);
    if (message !== undefined) return { handles: [], error: { code: 'ERR_SOSWAP_BUSY', message } };
    return this.#step(request.path, () => this.#prepare(randomUUID(), request));
  }

  /** Does a step. Until it is over, no other deployment of the library begins. */
  async #step(path: string, work: () => Promise<StepOutcome>): Promise<StepOutcome> {
    const step = { path, outcome: work() };
    this.#steps.add(step);
    try {
      return await step.outcome;
    } finally {
      this.#steps.delete(step);
    }
  }

  #reasonToWait(path: string): string | undefined {
    if (this.#isEnded) return 'the control socket is being closed';
    const isSame = (other: { path: string }) => means(path, other.path) || means(other.path, path);
    const other = [...this.#waiting.values(), ...this.#steps].find(isSame);
    return other && `another deployment of '${other.path}' is under way`;
  }

  async #prepare(
    id: string,
    { path, options, force, lease, timeout }: PrepareRequest,
  ): Promise<StepOutcome> {
    const { handles, error } = await this.#all(
      { action: 'prepare', id, path, options, force },
      timeout,
    );
    if (error !== undefined) {
      const discarded = await this.#all({ action: 'discard', id }, timeout);
      return { handles: merged(handles, discarded.handles), error };
    }
    if (handles.length === 0) {
      const message = `this process has no open handle of '${path}'`;
      return { handles, error: { code: 'ERR_SOSWAP_NOT_FOUND', message } };
    }
    if (!handles.some(({ outcome }) => outcome === 'prepared')) {
      await this.#all({ action: 'discard', id }, timeout);
      return { handles };
    }
    this.#wait(id, { path, state: 'prepared', timeout }, lease);
    return { id, handles };
  }

  /** Commits in all threads; if one of them fails, those go back that have committed. */
  async commit(request: CommitRequest): Promise<StepOutcome> {
    const { path, timeout } = this.#take(request.id, 'prepared');
    return this.#step(path, () => this.#commit(request, path, timeout));
  }

  async #commit(
    { id, lease, deployment, peers }: CommitRequest,
    path: string,
    timeout: number,
  ): Promise<StepOutcome> {
    const committed = await this.#all({ action: 'commit', id }, timeout);
    if (committed.error === undefined && lease !== undefined) {
      this.#wait(id, { path, state: 'committed', timeout, deployment, peers }, lease);
      return { id, ...committed };
    }
    const next = committed.error === undefined ? 'discard' : 'undo';
    const after = await this.#all({ action: next, id }, timeout);
    if (committed.error === undefined) return committed;
    return { handles: merged(committed.handles, after.handles), error: committed.error };
  }

  /** Ends the lease of a commit: the other processes have committed too. */
  async confirm(id: string): Promise<StepOutcome> {
    const { path, timeout, deployment } = this.#take(id, 'committed');
    if (deployment !== undefined) this.#confirmed.add(deployment);
    const [oldest] = this.#confirmed;
    if (this.#confirmed.size > mostRemembered) this.#confirmed.delete(oldest as string);
    return this.#step(path, () => this.#all({ action: 'discard', id }, timeout));
  }

  /** How many deployments have begun and are not over. */
  get waiting(): number {
    return this.#waiting.size + this.#steps.size;
  }

  /** What this process knows of a deployment. */
  stateOf(deployment: string): 'confirmed' | 'committed' | 'unknown' {
    if (this.#confirmed.has(deployment)) return 'confirmed';
    const waits = [...this.#waiting.values()].some((each) => each.deployment === deployment);
    return waits ? 'committed' : 'unknown';
  }

  /**
   * The lease is over, and whoever asked for the swap has not come back. It gave the word to nobody before all had committed:
   * where a peer has got it, it holds here, too.
   */
  async #expire(id: string): Promise<void> {
    const { state, deployment, peers = [] } = this.#waiting.get(id) as Waiting;
    const isConfirmed =
      state === 'committed' && deployment !== undefined && (await hasPeer(peers, deployment));
    if (!this.#waiting.has(id)) return; // the word has come meanwhile
    await (isConfirmed ? this.confirm(id) : this.discard(id));
  }

  /** Takes back what is prepared, or was committed and not confirmed. */
  async discard(id: string): Promise<StepOutcome> {
    const { path, timeout, state } = this.#take(id);
    const action = state === 'prepared' ? 'discard' : 'undo';
    return this.#step(path, () => this.#all({ action, id }, timeout));
  }

  async rollback(path: string, options: RemoteSwapOptions, timeout: number): Promise<StepOutcome> {
    const outcome = await this.#all({ action: 'rollback', path, options }, timeout);
    if (outcome.handles.length > 0 || outcome.error !== undefined) return outcome;
    const message = `this process has no open handle of '${path}'`;
    return { handles: [], error: { code: 'ERR_SOSWAP_NOT_FOUND', message } };
  }

  /** Waits for what is under way, and discards what is prepared; what was committed stays. */
  async end(): Promise<void> {
    this.#isEnded = true;
    await Promise.all([...this.#steps].map(({ outcome }) => outcome));
    const all = [...this.#waiting].map(([id, { state }]) =>
      state === 'prepared' ? this.discard(id) : this.confirm(id),
    );
    await Promise.all(all);
  }

  #wait(id: string, waiting: Omit<Waiting, 'timer'>, lease: number): void {
    const timer = setTimeout(() => void this.#expire(id), lease).unref();
    this.#waiting.set(id, { ...waiting, timer });
  }

  /** Ends the lease. @throws {SoError} `ERR_SOSWAP_STALE_PREPARATION` */
  #take(id: string, state?: Waiting['state']): Waiting {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined || (state !== undefined && waiting.state !== state)) {
      const message = `no swap with the id '${id}' waits for this: it is over, or so is its lease`;
      throw new SoError('ERR_SOSWAP_STALE_PREPARATION', message, '');
    }
    clearTimeout(waiting.timer);
    this.#waiting.delete(id);
    return waiting;
  }

  async #all(
    request: ThreadRequest,
    timeout: number,
  ): Promise<{ handles: readonly HandleResult[]; error?: ControlError }> {
    const answers = await this.#threads.ask(request, timeout);
    const handles = answers.flatMap(({ answer }) => answer?.results ?? []);
    const error =
      handles.find((each) => each.error !== undefined)?.error ?? silent(answers, timeout);
    return error === undefined ? { handles } : { handles, error };
  }
}

/** The error of a thread that does not answer. */
export function silent(
  answers: readonly ThreadAnswer[],
  timeout: number,
): ControlError | undefined {
  const found = answers.find(({ answer }) => answer === undefined);
  if (found === undefined) return undefined;
  const message = `thread ${found.thread} did not answer within ${timeout} ms`;
  return { code: 'ERR_SOSWAP_BUSY', message };
}

/** What the later step says of a handle replaces what the earlier one said, unless that was a refusal. */
function merged(
  before: readonly HandleResult[],
  after: readonly HandleResult[],
): readonly HandleResult[] {
  const left = [...after];
  return before.map((each) => {
    if (each.error !== undefined) return each;
    const at = left.findIndex(({ thread, path }) => thread === each.thread && path === each.path);
    return at < 0 ? each : (left.splice(at, 1)[0] as HandleResult);
  });
}
