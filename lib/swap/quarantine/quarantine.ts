import type { SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { Candidate } from '../../image/candidate.js';
import { SoError } from '../../internal/errors.js';
import { longestTimer } from '../../internal/options.js';
import { type Steps, step } from '../../internal/steps.js';
import { native, packageRoot } from '../../native/addon.js';

const childProgram = join(packageRoot, 'dist/swap/quarantine/child.js');

/** The first quarantine loads the module, because most programs have none. */
const processes = () => process.getBuiltinModule('node:child_process');

/**
 * Loads the candidate in a child process, with its constructors and destructors, and waits for its end.
 *
 * @param timeout Milliseconds.
 * @throws {SoError} `ERR_SOSWAP_QUARANTINE`
 */
export function* quarantine(candidate: Candidate, timeout: number): Steps<void> {
  yield* step(
    () => quarantineSync(candidate, timeout),
    () => quarantineAsync(candidate, timeout),
  );
}

function quarantineSync(candidate: Candidate, timeout: number): void {
  withReport((report) => {
    const { status, signal, error, pid } = processes().spawnSync(
      process.execPath,
      argumentsFor(candidate, timeout),
      {
        ...optionsFor(candidate, report),
        timeout: Math.max(1, Math.min(timeout, longestTimer)),
        killSignal: 'SIGKILL',
      },
    );
    killGroup(pid);
    const hung = error !== undefined && 'code' in error && error.code === 'ETIMEDOUT';
    if (error !== undefined && !hung)
      throw refusal(candidate, `no child process: ${error.message}`);
    judge(candidate, { status, signal, hung, timeout, report });
  });
}

async function quarantineAsync(candidate: Candidate, timeout: number): Promise<void> {
  await withReport(async (report) => {
    const child = processes().spawn(
      process.execPath,
      argumentsFor(candidate, timeout),
      optionsFor(candidate, report),
    );
    let hung = false;
    const expire = () => {
      hung = true;
      killGroup(child.pid);
    };
    const timer = setTimeout(expire, Math.min(timeout, longestTimer));
    const exited = once(child, 'exit').finally(() => clearTimeout(timer));
    const [status, signal] = await exited.catch((error: Error) => {
      throw refusal(candidate, `no child process: ${error.message}`);
    });
    killGroup(child.pid);
    judge(candidate, { status, signal, hung, timeout, report });
  });
}

interface Ending {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly hung: boolean;
  readonly timeout: number;
  readonly report: number;
}

function judge(candidate: Candidate, { status, signal, hung, timeout, report }: Ending): void {
  if (hung) throw refusal(candidate, `it hung there for ${timeout} ms`);
  if (signal !== null) throw refusal(candidate, `it died there of ${signal}`);
  const text = textOf(report);
  if (text === 'loaded') return;
  throw refusal(candidate, text || `it ended the process there, with code ${status}`);
}

/** Without /proc, which may show other processes. */
function textOf(report: number): string {
  const text = Buffer.alloc(fstatSync(report).size);
  readSync(report, text, 0, text.length, 0);
  return text.toString();
}

function refusal({ path }: Candidate, why: string): SoError {
  const message = `cannot use '${path}': a child process tried to load it: ${why}`;
  return new SoError('ERR_SOSWAP_QUARANTINE', message, path);
}

function argumentsFor({ path, mode }: Candidate, timeout: number): string[] {
  // The child ends itself, should this process not live to do it.
  const seconds = Math.min(Math.ceil(timeout / 1000) + 1, longestTimer);
  return [childProgram, path, String(mode), String(process.pid), String(seconds)];
}

function optionsFor(candidate: Candidate, report: number) {
  // What the program's own Node options load has no business in the child.
  const { NODE_OPTIONS: _, ...env } = process.env;
  return {
    env,
    // A file, not a pipe: a process that the library leaves behind would hold the pipe open.
    stdio: ['ignore', 'ignore', 'ignore', candidate.facts.descriptor, report],
    // A process group of its own, so that such a process can be ended too.
    detached: true,
  } satisfies SpawnOptions;
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined && pid > 0) process.kill(-pid, 'SIGKILL');
  } catch {
    // nobody is left in it
  }
}

/** Gives `body` the descriptor of a file that the child writes its report into. */
function withReport<Result>(body: (report: number) => Result): Result {
  const report = native.openMemoryFile();
  const close = () => native.closeMemoryFile(report);
  let result: Result;
  try {
    result = body(report);
  } catch (error) {
    close();
    throw error;
  }
  if (result instanceof Promise) return result.finally(close) as Result;
  close();
  return result;
}
