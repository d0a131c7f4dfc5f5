import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Candidate } from './candidate.js';
import { SoError } from './errors.js';

const childProgram = fileURLToPath(new URL('./quarantine-child.js', import.meta.url));

/** Loads the candidate in a child process, with its constructors and destructors, and waits for the end. */
export function quarantineSync(candidate: Candidate, timeout: number): void {
  const { status, signal, error, stderr } = spawnSync(process.execPath, argumentsFor(candidate), {
    env: environment(),
    stdio: ['ignore', 'ignore', 'pipe', candidate.facts.descriptor],
    timeout: Math.max(1, Math.min(timeout, longestTimer)),
    killSignal: 'SIGKILL',
    encoding: 'utf8',
  });
  const hung = error !== undefined && 'code' in error && error.code === 'ETIMEDOUT';
  if (error !== undefined && !hung) throw refusal(candidate, `no child process: ${error.message}`);
  judge(candidate, { status, signal, hung, timeout, stderr });
}

/** The same while the event loop goes on. */
export async function quarantineAsync(candidate: Candidate, timeout: number): Promise<void> {
  const child: ChildProcess = spawn(process.execPath, argumentsFor(candidate), {
    env: environment(),
    stdio: ['ignore', 'ignore', 'pipe', candidate.facts.descriptor],
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(0, longestText);
  });
  let hung = false;
  const timer = setTimeout(
    () => {
      hung = child.kill('SIGKILL');
    },
    Math.min(timeout, longestTimer),
  );
  try {
    const [status, signal] = await once(child, 'close');
    judge(candidate, { status, signal, hung, timeout, stderr });
  } catch (error) {
    if (error instanceof SoError) throw error;
    throw refusal(candidate, `no child process: ${error}`);
  } finally {
    clearTimeout(timer);
  }
}

interface Ending {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly hung: boolean;
  readonly timeout: number;
  readonly stderr: string;
}

const longestTimer = 2 ** 31 - 1;
const longestText = 10_000;

function judge(candidate: Candidate, { status, signal, hung, timeout, stderr }: Ending): void {
  if (hung) throw refusal(candidate, `it hung there for ${timeout} ms`);
  if (signal !== null) throw refusal(candidate, `it died there of ${signal}`);
  if (status !== 0) throw refusal(candidate, stderr.trim() || `it ended there with code ${status}`);
}

function refusal({ path }: Candidate, why: string): SoError {
  const message = `cannot use '${path}': a child process tried to load it: ${why}`;
  return new SoError('ERR_SOSWAP_QUARANTINE', message, path);
}

function argumentsFor(candidate: Candidate): string[] {
  return [childProgram, candidate.path, String(candidate.mode)];
}

function environment(): NodeJS.ProcessEnv {
  // What the program's own Node options load has no business in the child.
  const { NODE_OPTIONS: _, ...rest } = process.env;
  return rest;
}
