import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds between SIGTERM and SIGKILL. */
const terminationTimeout = 1000;

/** `sh -c COMMAND` in its own process group, so that the processes that it starts end with it. */
export class ShellCommand {
  readonly #child: ChildProcess;
  /** Resolves with the reason of a failure, or with `undefined`. */
  readonly #exited: Promise<string | undefined>;
  #stopped = false;
  readonly #kill = () => this.#signal('SIGKILL');

  constructor(command: string, env: NodeJS.ProcessEnv) {
    const stdio = ['ignore', 'inherit', 'inherit'] as const;
    this.#child = spawn('sh', ['-c', command], { stdio: [...stdio], env, detached: true });
    this.#exited = once(this.#child, 'exit').then(
      ([code, signal]) => (code === 0 ? undefined : (signal ?? `exit code ${code}`)),
      (error: Error) => error.message,
    );
    process.once('exit', this.#kill);
  }

  /** Waits for the command. Resolves with the reason if it failed and was not stopped, otherwise with `undefined`. */
  async failure(): Promise<string | undefined> {
    const failure = await this.#exited;
    process.off('exit', this.#kill);
    return this.#stopped ? undefined : failure;
  }

  /** Ends the command with SIGTERM, and after a second with SIGKILL. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#signal('SIGTERM');
    await Promise.race([this.#exited, sleep(terminationTimeout)]);
    this.#kill();
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return; // sh did not start
    try {
      process.kill(-this.#child.pid, signal);
    } catch {
      // The whole group has ended.
    }
  }
}
