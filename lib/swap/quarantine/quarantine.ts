import type { SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { Candidate } from '../../image/candidate.js';
import { SoError } from '../../internal/errors.js';
import { longestTimer } from '../../internal/options.js';
import { type Steps, step } from '../../internal/steps.js';
import { addonPath, native, packageRoot } from '../../native/addon.js';
import { assertMayQuarantine, quarantineMark } from '../../native/quarantine-mark.js';
import { anotherNode, whyNotNode } from './executable.js';
import { describeCopies, withProviders } from './provided.js';

/** How a candidate is quarantined. */
export interface Quarantine {
  /** Milliseconds that the child may take. */
  readonly timeout: number;
  /** The path of a Node.js; `undefined` for the executable of this process. */
  readonly execPath: string | undefined;
  /** The arguments of the executable that come before those of its program. */
  readonly execArgv: readonly string[];
}

const childProgram = join(packageRoot, 'dist/swap/quarantine/child.js');

/** The first quarantine loads the module, because most programs have none. */
const processes = () => process.getBuiltinModule('node:child_process');

/**
 * Loads the candidate in a child process, with its constructors and destructors, and waits for its end.
 *
 * @throws {SoError} `ERR_SOSWAP_QUARANTINE`
 */
export function* quarantine(candidate: Candidate, how: Quarantine): Steps<void> {
  assertMayQuarantine(candidate.path);
  const why = how.execPath === undefined ? whyNotNode() : undefined;
  if (why !== undefined) throw noChild(candidate, `${why}; ${anotherNode}`);
  yield* step(
    () => quarantineSync(candidate, how),
    () => quarantineAsync(candidate, how),
  );
}

function quarantineSync(candidate: Candidate, how: Quarantine): void {
  withFiles(candidate, (copies, report) => {
    const { timeout } = how;
    const { status, signal, error, pid } = started(candidate, () =>
      processes().spawnSync(executableOf(how), argumentsFor(candidate, how), {
        ...optionsFor(copies, report),
        timeout: Math.max(1, Math.min(timeout, longestTimer)),
        killSignal: 'SIGKILL',
      }),
    );
    killGroup(pid);
    const hung = error !== undefined && 'code' in error && error.code === 'ETIMEDOUT';
    if (error !== undefined && !hung) throw noChildBecause(candidate, error);
    judge(candidate, how, { status, signal, hung, report });
  });
}

async function quarantineAsync(candidate: Candidate, how: Quarantine): Promise<void> {
  await withFiles(candidate, async (copies, report) => {
    endChildrenAtExit();
    const child = started(candidate, () =>
      processes().spawn(
        executableOf(how),
        argumentsFor(candidate, how),
        optionsFor(copies, report),
      ),
    );
    const { pid = 0 } = child;
    if (pid > 0) native.endWithThread(pid);
    let hung = false;
    const expire = () => {
      hung = true;
      killGroup(pid);
    };
    const timer = setTimeout(expire, Math.min(how.timeout, longestTimer));
    const exited = once(child, 'exit').finally(() => {
      clearTimeout(timer);
      native.hasEnded(pid);
    });
    const [status, signal] = await exited.catch((error: Error) => {
      throw noChildBecause(candidate, error);
    });
    killGroup(pid);
    judge(candidate, how, { status, signal, hung, report });
  });
}

/** Starts a child. Node.js throws at once if its permission model forbids that. */
function started<Child>(candidate: Candidate, start: () => Child): Child {
  try {
    return start();
  } catch (error) {
    throw noChildBecause(candidate, error);
  }
}

let endsChildren = false;

/** For process.exit() on the main thread, which runs no cleanup of the addon. */
function endChildrenAtExit(): void {
  if (!endsChildren) process.on('exit', native.endChildren);
  endsChildren = true;
}

interface Ending {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly hung: boolean;
  readonly report: number;
}

function judge(
  candidate: Candidate,
  how: Quarantine,
  { status, signal, hung, report }: Ending,
): void {
  const text = textOf(report);
  if (!text.startsWith('+') && (!hung || how.timeout >= longestStart)) {
    throw noChild(candidate, `${executableOf(how)} did not run its program; ${anotherNode}`);
  }
  if (hung) throw refusal(candidate, `it hung there for ${how.timeout} ms`);
  if (signal !== null) throw refusal(candidate, `it died there of ${signal}`);
  if (text === '+loaded') return;
  throw refusal(candidate, text.slice(1) || `it ended the process there, with code ${status}`);
}

/** Milliseconds within which a Node.js has begun, even on a busy machine. */
const longestStart = 5000;

/** Without /proc, which may show other processes. */
function textOf(report: number): string {
  const text = Buffer.alloc(fstatSync(report).size);
  readSync(report, text, 0, text.length, 0);
  return text.toString();
}

function refusal(candidate: Candidate, why: string): SoError {
  return refused(candidate, `a child process tried to load it: ${why}`);
}

function noChild(candidate: Candidate, why: string, options?: ErrorOptions): SoError {
  return refused(candidate, `there is no child process for its quarantine: ${why}`, options);
}

function noChildBecause(candidate: Candidate, cause: unknown): SoError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const denied = 'Node.js needs the permission --allow-child-process';
  const advice = code === 'ERR_ACCESS_DENIED' ? denied : anotherNode;
  return noChild(candidate, `${message}; ${advice}`, { cause });
}

function refused({ path }: Candidate, why: string, options?: ErrorOptions): SoError {
  const message = `cannot use '${path}': ${why}`;
  return new SoError('ERR_SOSWAP_QUARANTINE', message, path, undefined, options);
}

const executableOf = ({ execPath }: Quarantine) => execPath ?? process.execPath;

function argumentsFor(candidate: Candidate, { timeout, execArgv }: Quarantine): string[] {
  // The child ends itself, should this process not live to do it.
  const seconds = Math.min(Math.ceil(timeout / 1000) + 1, longestTimer);
  const copies = JSON.stringify(describeCopies(withProviders(candidate)));
  const numbers = [process.pid, native.threadId(), seconds];
  return [...execArgv, childProgram, copies, ...numbers.map(String), addonPath];
}

function optionsFor([copy, ...provided]: readonly number[], report: number) {
  // What the program's own Node options load has no business in the child.
  const { NODE_OPTIONS: _, ...env } = process.env;
  return {
    env: { ...env, [quarantineMark]: String(process.pid) },
    // A file, not a pipe: a process that the library leaves behind would hold the pipe open.
    stdio: ['ignore', 'ignore', 'ignore', copy, report, 'ignore', ...provided],
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

/**
 * Gives `body` descriptors of the copies, which cannot be written, that of the candidate first, and of a file that the child
 * writes its report into.
 */
function withFiles<Result>(
  candidate: Candidate,
  body: (copies: readonly number[], report: number) => Result,
): Result {
  const opened: number[] = [];
  const close = () => {
    for (const descriptor of opened) native.closeMemoryFile(descriptor);
  };
  let result: Result;
  try {
    const all = withProviders(candidate);
    for (const { facts } of [candidate, ...all.slice(0, -1)]) {
      opened.push(native.reopenReadOnly(facts.descriptor));
    }
    const copies = [...opened];
    const report = native.openMemoryFile();
    opened.push(report);
    result = body(copies, report);
  } catch (error) {
    close();
    throw error;
  }
  if (result instanceof Promise) return result.finally(close) as Result;
  close();
  return result;
}
