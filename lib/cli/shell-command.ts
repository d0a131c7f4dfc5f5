import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a command that is told to end may take for it, in milliseconds. */
const patience = 1000;

/** `sh -c COMMAND`, in a process group of its own, so that what it starts ends with it. */
export class ShellCommand {
  readonly #child: ChildProcess;
  /** With how it failed, if it did. */
  readonly #ended: Promise<string | undefined>;
  #told = false;
  readonly #kill = () => this.#signal('SIGKILL');

  constructor(command: string, env: NodeJS.ProcessEnv) {
    const stdio = ['ignore', 'inherit', 'inherit'] as const;
    this.#child = spawn('sh', ['-c', command], { stdio: [...stdio], env, detached: true });
    this.#ended = once(this.#child, 'exit').then(
      ([code, signal]) => (code === 0 ? undefined : (signal ?? `exit code ${code}`)),
      (error: Error) => error.message,
    );
    process.once('exit', this.#kill);
  }

  /** Resolves when it is done: with nothing, or with how it failed, unless it was told to end. */
  async failure(): Promise<string | undefined> {
    const failure = await this.#ended;
    process.off('exit', this.#kill);
    return this.#told ? undefined : failure;
  }

  /** Has it end, in the last resort by SIGKILL. */
  async end(): Promise<void> {
    this.#told = true;
    this.#signal('SIGTERM');
    await Promise.race([this.#ended, sleep(patience)]);
    this.#kill();
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return; // there is no sh
    try {
      process.kill(-this.#child.pid, signal);
    } catch {
      // All of them have ended.
    }
  }
}
