import type { HandleResult } from '../../control/messages.js';
import type { ProcessOutcome } from './deployment.js';

/** How a deployment ended. */
export interface Conclusion {
  readonly exitCode: 0 | 1 | 2;
  /** The last line. */
  readonly text: string;
}

/** @param done What a success is: `swapped`, say. */
export function conclude(outcomes: readonly ProcessOutcome[], done: string): Conclusion {
  const of = (...states: ProcessOutcome['state'][]) =>
    outcomes.filter(({ state }) => states.includes(state));
  const mixed = of('mixed');
  const swapped = of('swapped');
  const live = outcomes.length - of('gone').length;
  if (mixed.length > 0) {
    const which = mixed.map(({ process }) => `${process.name} (pid ${process.pid})`).join(', ');
    return { exitCode: 2, text: `not all run the same build: ${which}; soswap ps tells which` };
  }
  const failed = of('refused', 'gone', 'discarded', 'rolled-back');
  if (swapped.length > 0 && of('refused', 'discarded', 'rolled-back').length === 0) {
    const current = of('current').length;
    const others = current > 0 ? `, ${current} had it` : '';
    return { exitCode: 0, text: `${done} in ${swapped.length} of ${live} process(es)${others}` };
  }
  if (failed.length === 0) return { exitCode: 0, text: 'all processes run the build of the file' };
  const cause = failed.find(({ error }) => error !== undefined)?.error;
  const why = cause === undefined ? 'it was cancelled' : cause.message;
  return { exitCode: 1, text: `nothing has changed: ${why}` };
}

/** One line for a process, and one for each further handle. */
export function lineOf({ process, state, error, step }: ProcessOutcome): string {
  const name = `${process.name} (pid ${process.pid})`;
  if (error !== undefined) return `${name}: ${state}: ${error.message}`;
  const handles = (step?.handles ?? []).map((each) => handleText(each, process.handles));
  return `${name}: ${state}${handles.length > 0 ? `: ${[...new Set(handles)].join('; ')}` : ''}`;
}

function handleText(
  { thread, path, generation, buildId, pauseMicroseconds }: HandleResult,
  before: readonly { thread: number; path: string; generation: number }[],
): string {
  const was = before.find((each) => each.thread === thread && each.path === path)?.generation;
  const from = was === undefined || was === generation ? '' : `${was} → `;
  const pause =
    pauseMicroseconds === undefined ? '' : `, paused ${(pauseMicroseconds / 1000).toFixed(1)} ms`;
  return `generation ${from}${generation}, build ${buildId?.slice(0, 8) ?? 'none'}${pause}`;
}

/** What `--json` prints of a process. */
export function jsonOf({ process, state, error, step }: ProcessOutcome): object {
  const { pid, name } = process;
  return { pid, name, state, handles: step?.handles ?? [], ...(error && { error }) };
}
