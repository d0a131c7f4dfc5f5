import type { SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { Candidate } from '../../image/candidate.js';
import type { Generation } from '../../image/generation.js';
import type { UnloadPolicy } from '../../image/image-info.js';
import type { Ending } from '../../internal/ending.js';
import { SoError } from '../../internal/errors.js';
import { longestTimer } from '../../internal/options.js';
import { type Steps, step } from '../../internal/steps.js';
import { addonPath, native, packageRoot } from '../../native/addon.js';
import { assertMayQuarantine, quarantineMark } from '../../native/quarantine-mark.js';
import type { SwapOrder } from '../report.js';
import { anotherNode, whyNotNode } from './executable.js';
import { runningIsLoaded, type Trial } from './trial-request.js';
import { describeCopies } from './tried-copies.js';

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

/** What a quarantine rehearses. */
export interface Rehearsal {
  readonly candidate: Candidate;
  /** What the candidate is to replace, if anything. */
  readonly running: Generation | undefined;
  readonly order: SwapOrder;
  readonly unload: UnloadPolicy;
  /** The end of the handle, and so of the child. */
  readonly ending: Ending;
}

/**
 * Rehearses the swap in a child process, with the constructors and destructors of both images, and waits for its end. If
 * the child dies before it comes to the candidate, another one tries the candidate alone: a second process may not be able
 * to load what this one runs.
 *
 * @throws {SoError} `ERR_SOSWAP_QUARANTINE`
 */
export function* quarantine(rehearsal: Rehearsal, how: Quarantine): Steps<void> {
  const { candidate } = rehearsal;
  assertMayQuarantine(candidate.path);
  const why = how.execPath === undefined ? whyNotNode() : undefined;
  if (why !== undefined) throw noChild(candidate, `${why}; ${anotherNode}`);
  const both = rehearsal.running?.image.isOpen === true;
  if (both && (yield* tryOnce(rehearsal, how)) === 'tried') return;
  if (rehearsal.ending.hasCome) throw noChild(candidate, 'the handle is closed');
  yield* tryOnce({ ...rehearsal, running: undefined }, how);
}

type Verdict = 'tried' | 'not-tried';

function tryOnce(rehearsal: Rehearsal, how: Quarantine): Steps<Verdict> {
  const files = () => new ChildFiles(rehearsal);
  return step(
    () => {
      using opened = files();
      return trySync(rehearsal.candidate, opened, how);
    },
    async () => {
      using opened = files();
      return await tryAsync(rehearsal, opened, how);
    },
  );
}

function trySync(candidate: Candidate, files: ChildFiles, how: Quarantine): Verdict {
  const { timeout } = how;
  const { status, signal, error, pid } = started(candidate, () =>
    processes().spawnSync(executableOf(how), files.argumentsFor(how), {
      ...optionsFor(files),
      timeout: Math.max(1, Math.min(timeout, longestTimer)),
      killSignal: 'SIGKILL',
    }),
  );
  killGroup(pid);
  const hung = error !== undefined && 'code' in error && error.code === 'ETIMEDOUT';
  if (error !== undefined && !hung) throw noChildBecause(candidate, error);
  return judge(candidate, files, how, { status, signal, hung });
}

async function tryAsync(
  { candidate, ending }: Rehearsal,
  files: ChildFiles,
  how: Quarantine,
): Promise<Verdict> {
  endChildrenAtExit();
  const child = started(candidate, () =>
    processes().spawn(executableOf(how), files.argumentsFor(how), optionsFor(files)),
  );
  const { pid = 0 } = child;
  if (pid > 0) native.endWithThread(pid);
  let hung = false;
  const expire = () => {
    hung = true;
    killGroup(pid);
  };
  const timer = setTimeout(expire, Math.min(how.timeout, longestTimer));
  const ignoreEnding = ending.listen(() => killGroup(pid));
  const exited = once(child, 'exit').finally(() => {
    clearTimeout(timer);
    ignoreEnding();
    native.hasEnded(pid);
  });
  const [status, signal] = await exited.catch((error: Error) => {
    throw noChildBecause(candidate, error);
  });
  killGroup(pid);
  return judge(candidate, files, how, { status, signal, hung });
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

interface Exit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly hung: boolean;
}

/** Returns `not-tried` if the child died while it loaded the running image. */
function judge(
  candidate: Candidate,
  files: ChildFiles,
  how: Quarantine,
  { status, signal, hung }: Exit,
): Verdict {
  const text = textOf(files.report);
  if (!text.startsWith('+') && (!hung || how.timeout >= longestStart)) {
    throw noChild(candidate, `${executableOf(how)} did not run its program; ${anotherNode}`);
  }
  const cameToCandidate = text.startsWith(runningIsLoaded, 1);
  const report = text.slice(cameToCandidate ? 2 : 1);
  if (!cameToCandidate && report === '' && !hung && files.rehearsesRunning) return 'not-tried';
  if (report === 'loaded' && signal === null) return 'tried';
  const words = lastWords(files.errors);
  if (hung) throw refusal(candidate, `it hung there for ${how.timeout} ms${words}`);
  if (signal !== null) throw died(candidate, signal, words);
  const why = report || `it ended the process there, with code ${status}`;
  throw refusal(candidate, `${why}${words}`);
}

/** Milliseconds within which a Node.js has begun, even on a busy machine. */
const longestStart = 5000;

/** Without /proc, which may show other processes. */
function textOf(file: number): string {
  const text = Buffer.alloc(fstatSync(file).size);
  readSync(file, text, 0, text.length, 0);
  return text.toString();
}

/** The last line of standard error, for a message; empty if there is none. */
function lastWords(errors: number): string {
  const [written = '', ...rest] = textOf(errors).split('\0', 2);
  const lines = written.trimEnd().split('\n');
  if (rest.length === 0) lines.pop(); // there was no room for more
  const line =
    lines
      .at(-1)
      ?.replace(/\p{Cc}/gu, ' ')
      .trim() ?? '';
  return line === '' ? '' : `; the last line it wrote to standard error: ${line.slice(0, 300)}`;
}

function refusal(candidate: Candidate, why: string, options?: ErrorOptions): SoError {
  return refused(candidate, `a child process rehearsed it: ${why}`, options);
}

function died(candidate: Candidate, signal: NodeJS.Signals, words: string): SoError {
  const cause = Object.assign(new Error(`the child process died of ${signal}`), { signal });
  return refusal(candidate, `it died there of ${signal}${words}`, { cause });
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

function optionsFor({ copies, report, errors }: ChildFiles) {
  // What the program's own Node options load has no business in the child.
  const { NODE_OPTIONS: _, ...env } = process.env;
  return {
    env: { ...env, [quarantineMark]: String(process.pid) },
    // Files, not pipes: a process that the library leaves behind would hold a pipe open.
    stdio: ['ignore', 'ignore', errors, report, ...copies],
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

/** Bytes of standard error that are kept. */
const mostErrors = 1 << 20;

/** The descriptors that the child inherits, and what it is to do with them. */
class ChildFiles {
  /** Of the file that the child writes its report into, and of its standard error. */
  readonly report: number;
  readonly errors: number;
  /** Of the copies, which cannot be written. */
  readonly copies: readonly number[];

  readonly #rehearsal: Rehearsal;
  readonly #candidates: readonly Candidate[];
  readonly #opened: number[] = [];

  constructor(rehearsal: Rehearsal) {
    this.#rehearsal = rehearsal;
    const { candidate, running } = rehearsal;
    const all = candidate.withProviders();
    this.#candidates = [...(running?.candidate.withProviders(all) ?? all)];
    const open = (descriptor: number) => {
      this.#opened.push(descriptor);
      return descriptor;
    };
    try {
      this.report = open(native.openMemoryFile());
      this.errors = open(native.openMemoryFile(mostErrors));
      const copies = this.#candidates.map(({ facts }) => facts.descriptor);
      this.copies = copies.map((descriptor) => open(native.reopenReadOnly(descriptor)));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  get rehearsesRunning(): boolean {
    return this.#rehearsal.running !== undefined;
  }

  /** Of the executable. */
  argumentsFor({ timeout, execArgv }: Quarantine): string[] {
    const { candidate, running, order, unload } = this.#rehearsal;
    const all = this.#candidates;
    const placesOf = (one: Candidate) => [...one.withProviders()].map((each) => all.indexOf(each));
    const trial: Trial = {
      parent: process.pid,
      thread: native.threadId(),
      // The child ends itself, should this process not live to do it.
      seconds: Math.min(Math.ceil(timeout / 1000) + 1, longestTimer),
      order,
      unload,
      copies: describeCopies(all),
      candidate: placesOf(candidate),
      running: running
        ? {
            places: placesOf(running.candidate),
            staying: running.image.stayingDependencies(unload === 'always'),
          }
        : null,
    };
    return [...execArgv, childProgram, addonPath, JSON.stringify(trial)];
  }

  [Symbol.dispose](): void {
    for (const descriptor of this.#opened) native.closeMemoryFile(descriptor);
  }
}
