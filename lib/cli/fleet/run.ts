import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RemoteSwapOptions } from '../../control/messages.js';
import { wholeNumber } from '../arguments.js';
import { ShellCommand } from '../shell-command.js';
import { UsageError } from '../usage-error.js';
import { describe, type Selection, type ServiceProcess, send } from './client.js';
import { Deployment, isGone, type ProcessOutcome } from './deployment.js';
import { type Conclusion, conclude, jsonOf, lineOf } from './report.js';
import { processesWith, selectionOptions, selectionUsage } from './selection.js';

/** The options of the commands that swap. */
export const swapOptions = {
  ...selectionOptions,
  timeout: { type: 'string' },
  quarantine: { type: 'boolean', default: false },
  order: { type: 'string' },
  force: { type: 'boolean', default: false },
  rolling: { type: 'boolean', default: false },
  wait: { type: 'string' },
  check: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

export const swapUsage = `${selectionUsage}
      --timeout S   seconds that a step may take in a process. Defaults to 30
      --quarantine  each process rehearses the swap in a child process first
      --order O     close-first or open-first. Defaults to the order of each handle
      --force       also where the file has the bytes that run
      --rolling     one process after the other; the first one that refuses, or is not well afterwards, ends it, and those
                    before it go back
      --wait S      with --rolling, seconds before a process is asked whether it is well. Defaults to 1
      --check CMD   with --rolling, command for 'sh -c', with $SOSWAP_PID; a process is well if it succeeds, and its
                    /v1/health says so
      --json        output of one JSON object for each process, and one for the end`;

export const swapExitCodes = `exit codes: 0 all processes run the new build; 1 it was refused, and all run what they ran; 2 not all run the same build,
the last line says which; 2 wrong usage, too; 130 Ctrl-C, nothing has changed`;

type Values = {
  readonly [Key in keyof typeof swapOptions]?: string | boolean | undefined;
};

/** What a command that swaps is to do. */
export interface FleetPlan {
  readonly library: string;
  readonly selection: Selection;
  readonly options: RemoteSwapOptions;
  readonly force: boolean;
  readonly timeout: number;
  readonly rolling: boolean;
  readonly wait: number;
  readonly check: string | undefined;
  readonly json: boolean;
}

/** @throws {UsageError} */
export function readPlan(values: Values, library: string, selection: Selection): FleetPlan {
  const text = (name: keyof Values) => values[name] as string | undefined;
  const timeout = 1000 * wholeNumber('timeout', text('timeout'), 30, 1);
  const order = text('order');
  if (order !== undefined && order !== 'close-first' && order !== 'open-first') {
    throw new UsageError(`--order must be close-first or open-first. Received '${order}'`);
  }
  const rolling = values.rolling === true;
  for (const name of ['wait', 'check'] as const) {
    if (values[name] !== undefined && !rolling) throw new UsageError(`--${name} needs --rolling`);
  }
  return {
    library,
    selection,
    options: {
      timeout: Math.max(1000, timeout / 2), // a process answers before its deployer gives it up
      ...(order !== undefined && { order }),
      ...(values.quarantine === true && { quarantine: true }),
    },
    force: values.force === true,
    timeout,
    rolling,
    wait: 1000 * wholeNumber('wait', text('wait'), 1),
    check: text('check'),
    json: values.json === true,
  };
}

/** Ctrl-C, while it is listened for. */
export class Cancellation implements Disposable {
  readonly #over = new AbortController();
  /** What is under way, and may be given up. */
  deployment: Deployment | undefined;

  constructor() {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, this.#request);
  }

  get requested(): boolean {
    return this.#over.signal.aborted;
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  readonly #request = (): void => {
    this.#over.abort();
    const goesOn = this.deployment !== undefined && !this.deployment.cancel();
    const what = goesOn ? 'it is being committed, which goes on' : 'nothing more is begun';
    process.stderr.write(`soswap: ${what}\n`);
  };

  [Symbol.dispose](): void {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, this.#request);
  }
}

/** Swaps in all processes, prints what became of each, and sets the exit code. */
export async function swapFleet(plan: FleetPlan, cancellation: Cancellation): Promise<Conclusion> {
  const processes = await processesWith(plan.library, plan.selection, plan.timeout);
  if (processes.length === 0) {
    const text = `no process that serves a control socket has '${plan.library}' open`;
    return finish(plan, [], { exitCode: 1, text });
  }
  const outcomes = await (plan.rolling ? rolling : together)(plan, processes, cancellation);
  const conclusion = finish(plan, outcomes, conclude(outcomes, 'swapped'));
  if (cancellation.requested && conclusion.exitCode === 1) {
    process.exitCode = 128 + constants.signals.SIGINT;
  }
  return conclusion;
}

export function finish(
  { json }: Pick<FleetPlan, 'json'>,
  outcomes: readonly ProcessOutcome[],
  conclusion: Conclusion,
): Conclusion {
  for (const each of outcomes) {
    process.stdout.write(`${json ? JSON.stringify(jsonOf(each)) : lineOf(each)}\n`);
  }
  const { text, exitCode } = conclusion;
  const last = json ? JSON.stringify({ exitCode, text }) : text;
  (exitCode === 0 || json ? process.stdout : process.stderr).write(
    json || exitCode === 0 ? `${last}\n` : `soswap: ${last}\n`,
  );
  process.exitCode = exitCode;
  return conclusion;
}

/** Says on a terminal what is under way. */
function tell(step: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${step} …`);
}

function told(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

async function together(
  plan: FleetPlan,
  processes: readonly ServiceProcess[],
  cancellation: Cancellation,
): Promise<ProcessOutcome[]> {
  const deployment = new Deployment(plan, processes, tell);
  if (cancellation.requested) deployment.cancel();
  cancellation.deployment = deployment;
  try {
    return await deployment.run();
  } finally {
    cancellation.deployment = undefined;
    told();
  }
}

/** One process after the other. */
async function rolling(
  plan: FleetPlan,
  processes: readonly ServiceProcess[],
  cancellation: Cancellation,
): Promise<ProcessOutcome[]> {
  const outcomes: ProcessOutcome[] = [];
  for (const each of processes) {
    const [outcome] = (await together(plan, [each], cancellation)) as [ProcessOutcome];
    const error =
      outcome.state === 'swapped' ? await illness(plan, each, cancellation) : outcome.error;
    outcomes.push(error === undefined ? outcome : { ...outcome, error });
    const isFine = error === undefined || outcome.state === 'gone';
    if (!isFine || cancellation.requested) return goBack(plan, outcomes);
  }
  return outcomes;
}

/** Why a process is not well after its swap; `undefined`: it is. */
async function illness(
  { wait, check, timeout }: FleetPlan,
  { socket, pid }: ServiceProcess,
  { signal }: Cancellation,
): Promise<ProcessOutcome['error']> {
  await sleep(wait, undefined, { signal }).catch(() => {});
  const health = await send<{ healthy: boolean; reasons: string[] }>(
    socket,
    'GET /v1/health',
    undefined,
    timeout,
  );
  if (health.error !== undefined) return health.error;
  const code = 'ERR_SOSWAP_CONTROL';
  if (health.healthy !== true)
    return { code, message: `it is not well: ${health.reasons?.join('; ')}` };
  if (check === undefined) return undefined;
  const failure = await new ShellCommand(check, { ...process.env, SOSWAP_PID: `${pid}` }).failure();
  return failure === undefined ? undefined : { code, message: `'${check}' failed: ${failure}` };
}

/** Has the processes go back that were swapped. */
async function goBack(
  { library, timeout }: FleetPlan,
  outcomes: readonly ProcessOutcome[],
): Promise<ProcessOutcome[]> {
  return Promise.all(
    outcomes.map(async (outcome): Promise<ProcessOutcome> => {
      if (outcome.state !== 'swapped') return outcome;
      const { process, error } = outcome;
      const { error: failed } = await send(
        process.socket,
        'POST /v1/rollback',
        { path: library },
        timeout,
      );
      if (failed === undefined) return { process, state: 'rolled-back', ...(error && { error }) };
      if (await isGone(process)) return { process, state: 'gone', error: failed };
      return {
        process: (await describe(process.socket)) ?? process,
        state: 'mixed',
        error: failed,
      };
    }),
  );
}
