import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { styleText } from 'node:util';
import { packageRoot } from '../../native/addon.js';

/** Calls per step of the demo. */
const rounds = 3;

/** A child process that runs one round of its loop for each command, so that the output does not depend on timing. */
export class Loop {
  /** The line that the library printed last. */
  last = '';
  /** The signal or the exit code with which the process failed. */
  failure: string | undefined;

  readonly #child;
  readonly #closed: Promise<unknown>;
  readonly #lines: AsyncIterator<string>;
  readonly #kill = () => this.#child.kill('SIGKILL');

  /** @param program `raw-loop.js` or `handle-loop.js`. */
  constructor(program: string, ...args: string[]) {
    const path = join(packageRoot, 'dist/cli/demo', program);
    this.#child = spawn(process.execPath, [path, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdin.on('error', () => {}); // the process died; `failure` has the reason
    this.#closed = once(this.#child, 'close');
    // The process must not outlive the temporary directory that it works in.
    process.prependListener('exit', this.#kill);
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }

  send(command: string): void {
    this.#child.stdin.write(`${command}\n`);
  }

  /** Sends a command. Resolves with the line of the answer; with `undefined` if the process died. */
  async request(command: string): Promise<string | undefined> {
    this.send(command);
    const { done, value } = await this.#lines.next();
    if (!done) return value;
    await this.end();
    this.failure ??= 'no answer';
    return undefined;
  }

  /**
   * Calls action() three times, or until the process fails.
   *
   * @returns The lines that the library printed, and the failure.
   */
  async callAction(): Promise<string> {
    const seen: string[] = [];
    while (this.failure === undefined && seen.length < rounds) {
      const line = await this.request('call');
      this.last = line ?? this.last;
      seen.push(line ?? styleText('red', `crashed: ${this.failure}`));
    }
    return seen.join(' ');
  }

  /** Ends the process by closing its input, and waits for it. */
  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#closed;
    process.off('exit', this.#kill);
    const { exitCode, signalCode } = this.#child;
    if (signalCode !== null) this.failure = signalCode;
    else if (exitCode !== 0) this.failure = `exit code ${exitCode}`;
  }
}
