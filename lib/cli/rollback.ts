import type { StepOutcome } from '../control/deployments.js';
import { readArguments, wholeNumber } from './arguments.js';
import { send } from './fleet/client.js';
import { isGone, type ProcessOutcome } from './fleet/deployment.js';
import { finish } from './fleet/run.js';
import {
  libraryOf,
  processesWith,
  readSelection,
  selectionOptions,
  selectionUsage,
} from './fleet/selection.js';

const usage = `usage: soswap rollback LIB [--name N | --pid P | --all] [--timeout S] [--json]

Has all processes that have LIB open and serve a control socket go back to the generation before. The file stays as it is.

${selectionUsage}
      --timeout S   seconds that it may take in a process. Defaults to 30
      --json        output of one JSON object for each process, and one for the end
  -h, --help        this help

exit codes: 0 all have gone back; 1 none has; 2 some have not, or wrong usage
`;

export async function run(args: string[]): Promise<void> {
  const parsed = readArguments(args, usage, ['LIB'], {
    ...selectionOptions,
    timeout: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  if (parsed === undefined) return;
  const { values, operands } = parsed;
  const timeout = 1000 * wholeNumber('timeout', values.timeout, 30, 1);
  const library = libraryOf(operands[0]);
  const processes = await processesWith(library, readSelection(values), timeout);
  const outcomes = await Promise.all(
    processes.map(async (each): Promise<ProcessOutcome> => {
      const step = await send<StepOutcome>(
        each.socket,
        'POST /v1/rollback',
        { path: library },
        timeout,
      );
      if (step.error === undefined) return { process: each, state: 'rolled-back', step };
      const state = (await isGone(each)) ? 'gone' : 'refused';
      return { process: each, state, error: step.error };
    }),
  );
  const failed = outcomes.filter(({ state }) => state === 'refused');
  const back = outcomes.filter(({ state }) => state === 'rolled-back').length;
  const text =
    outcomes.length === 0
      ? `no process that serves a control socket has '${library}' open`
      : `${back} of ${outcomes.length} process(es) have gone back`;
  const exitCode = back === 0 ? 1 : failed.length > 0 ? 2 : 0;
  finish({ json: values.json }, outcomes, { exitCode, text });
}
