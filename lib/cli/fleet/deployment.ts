import { randomUUID } from 'node:crypto';
import type { StepOutcome } from '../../control/deployments.js';
import type { ControlError, RemoteSwapOptions } from '../../control/messages.js';
import { means } from '../../control/names.js';
import { type Answer, describe, type ServiceProcess, send } from './client.js';

/** What is to be deployed. */
export interface DeploymentPlan {
  readonly library: string;
  readonly options: RemoteSwapOptions;
  readonly force: boolean;
  /** Milliseconds that a step may take in a process. */
  readonly timeout: number;
}

/** What became of one process. */
export interface ProcessOutcome {
  readonly process: ServiceProcess;
  /**
   * `swapped`, `current`, `rolled-back`: as it says. `discarded`, `refused`: it runs what it ran. `gone`: it has ended.
   * `mixed`: it could not go back, or nobody knows.
   */
  readonly state:
    | 'swapped'
    | 'current'
    | 'rolled-back'
    | 'discarded'
    | 'refused'
    | 'gone'
    | 'mixed';
  readonly error?: ControlError;
  readonly step?: Answer<StepOutcome>;
}

/** Of a process that has nothing to commit. */
const nothing: Answer<StepOutcome> = {};

/** One deployment: prepared in all processes, then committed in all, or in none. */
export class Deployment {
  readonly #plan: DeploymentPlan;
  readonly #processes: readonly ServiceProcess[];
  readonly #tell: (step: string) => void;
  #isCommitting = false;
  #isCancelled = false;

  /** @param tell Called with each step. */
  constructor(
    plan: DeploymentPlan,
    processes: readonly ServiceProcess[],
    tell: (step: string) => void,
  ) {
    this.#plan = plan;
    this.#processes = processes;
    this.#tell = tell;
  }

  /** Gives it up, if no process commits yet. Returns whether it did: {@link run} then says that nothing has changed. */
  cancel(): boolean {
    this.#isCancelled = true;
    return !this.#isCommitting;
  }

  async run(): Promise<ProcessOutcome[]> {
    const { library, options, force, timeout } = this.#plan;
    this.#tell(`preparing ${this.#processes.length} process(es)`);
    const lease = 4 * timeout;
    const prepared = await this.#each((process) =>
      send(
        process.socket,
        'POST /v1/prepare',
        { path: library, ...options, force, lease },
        timeout,
      ),
    );
    if (this.#isCancelled || prepared.some(({ error }) => error !== undefined)) {
      return this.#discard(prepared);
    }
    this.#isCommitting = true;
    this.#tell('committing');
    const deployment = randomUUID();
    const peers = this.#processes.map(({ socket }) => socket);
    const committed = await Promise.all(
      prepared.map(({ id }, index) => {
        const { socket } = this.#processes[index] as ServiceProcess;
        return id === undefined
          ? nothing
          : send(socket, 'POST /v1/commit', { id, lease, deployment, peers }, timeout);
      }),
    );
    const failed = committed.some(({ error }) => error !== undefined);
    if (failed) return this.#undo(prepared, committed);
    const confirmed = await Promise.all(
      committed.map(({ id }, index) => {
        const { socket } = this.#processes[index] as ServiceProcess;
        return id === undefined ? nothing : send(socket, 'POST /v1/confirm', { id }, timeout);
      }),
    );
    const lost = await this.#each(async (process) => {
      const { error } = confirmed[this.#processes.indexOf(process)] as Answer<StepOutcome>;
      return error === undefined || (await isGone(process)) ? undefined : error;
    });
    const error = lost.find((each) => each !== undefined);
    if (error !== undefined) return this.#goBack(prepared, error);
    return Promise.all(
      this.#processes.map(async (process, index): Promise<ProcessOutcome> => {
        const { id } = prepared[index] as Answer<StepOutcome>;
        const step = (id === undefined ? prepared[index] : committed[index]) as Answer<StepOutcome>;
        const { error } = confirmed[index] as Answer<StepOutcome>;
        if (error !== undefined) return { process, state: 'gone', error };
        return { process, state: id === undefined ? 'current' : 'swapped', step };
      }),
    );
  }

  /** Some have got the word, and another one had gone back before: the lease was too short. */
  #goBack(
    prepared: readonly Answer<StepOutcome>[],
    error: ControlError,
  ): Promise<ProcessOutcome[]> {
    const { library, timeout } = this.#plan;
    return Promise.all(
      this.#processes.map(async (process, index): Promise<ProcessOutcome> => {
        if (prepared[index]?.id === undefined) return { process, state: 'current' };
        if (await this.#runsAsBefore(process)) return { process, state: 'refused', error };
        await send(process.socket, 'POST /v1/rollback', { path: library }, timeout);
        if (await this.#runsAsBefore(process)) return { process, state: 'rolled-back', error };
        return { process, state: (await isGone(process)) ? 'gone' : 'mixed', error };
      }),
    );
  }

  #each<T>(work: (process: ServiceProcess) => Promise<T>): Promise<T[]> {
    return Promise.all(this.#processes.map(work));
  }

  /** Takes back what was prepared. */
  #discard(prepared: readonly Answer<StepOutcome>[]): Promise<ProcessOutcome[]> {
    this.#tell('discarding');
    return Promise.all(
      this.#processes.map(async (process, index): Promise<ProcessOutcome> => {
        const { id, error } = prepared[index] as Answer<StepOutcome>;
        if (error !== undefined) {
          if (await isGone(process)) return { process, state: 'gone', error };
          return { process, state: 'refused', error, step: prepared[index] as Answer<StepOutcome> };
        }
        if (id === undefined) return { process, state: 'current' };
        await send(process.socket, 'POST /v1/discard', { id }, this.#plan.timeout);
        return { process, state: 'discarded' };
      }),
    );
  }

  /** Has those go back that have committed, after another one has not. */
  #undo(
    prepared: readonly Answer<StepOutcome>[],
    committed: readonly Answer<StepOutcome>[],
  ): Promise<ProcessOutcome[]> {
    this.#tell('going back');
    return Promise.all(
      this.#processes.map(async (process, index): Promise<ProcessOutcome> => {
        const { id } = prepared[index] as Answer<StepOutcome>;
        const { error } = committed[index] as Answer<StepOutcome>;
        if (id === undefined) return { process, state: 'current' };
        if (error !== undefined && (await isGone(process)))
          return { process, state: 'gone', error };
        const undone = await send(process.socket, 'POST /v1/discard', { id }, this.#plan.timeout);
        if (undone.error === undefined) {
          return error === undefined
            ? { process, state: 'rolled-back' }
            : { process, state: 'refused', error };
        }
        if (await isGone(process)) return { process, state: 'gone', error: undone.error };
        // It had nothing to take back: its commit had failed, and it has gone back itself.
        const runs = error !== undefined && (await this.#runsAsBefore(process));
        return runs
          ? { process, state: 'refused', error }
          : { process, state: 'mixed', error: undone.error };
      }),
    );
  }

  /** Whether all handles of the library run the builds that they ran. */
  async #runsAsBefore(before: ServiceProcess): Promise<boolean> {
    const builds = ({ handles }: ServiceProcess) =>
      handles
        .filter((each) => means(this.#plan.library, each.path))
        .map(({ thread, path, buildId }) => `${thread} ${path} ${buildId}`)
        .sort()
        .join('\n');
    const now = await describe(before.socket);
    return now !== undefined && builds(now) === builds(before);
  }
}

/** Whether the process has ended. */
export async function isGone({ pid, socket }: ServiceProcess): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
  const { error } = await send(socket, 'GET /v1/handles', undefined, 1000);
  return error?.code === 'ECONNREFUSED' || error?.code === 'ENOENT'; // its number is another's
}
