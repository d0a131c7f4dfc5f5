import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '../../native/addon.js';
import { red } from '../paint.js';

const rounds = 3;

/** A process that goes around a loop step by step, so that what is shown does not depend on timing. */
export class Loop {
  /** What the library printed last. */
  last = '';
  /** The signal or the exit code that the process failed with; nothing while all is well. */
  failure: string | undefined;

  readonly #child;
  readonly #closed: Promise<unknown>;
  readonly #lines: AsyncIterator<string>;
  readonly #kill = () => this.#child.kill('SIGKILL');

  /** @param program `raw-loop.js` or `handle-loop.js`. */
  constructor(program: string, ...args: string[]) {
    const path = join(packageRoot, 'dist/cli/demo', program);
    this.#child = spawn(process.execPath, [path, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdin.on('error', () => {}); // it died; `failure` tells how
    this.#closed = once(this.#child, 'close');
    // It must not outlive the temporary directory that it works in.
    process.prependListener('exit', this.#kill);
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }

  tell(command: string): void {
    this.#child.stdin.write(`${command}\n`);
  }

  /** The line that it answers with; nothing if it died instead. */
  async ask(command: string): Promise<string | undefined> {
    this.tell(command);
    const { done, value } = await this.#lines.next();
    if (!done) return value;
    await this.end();
    this.failure ??= 'no answer';
    return undefined;
  }

  /**
   * Goes around the loop a few times, as far as it gets.
   *
   * @returns What the library printed, and how the process failed, if it does so now.
   */
  async around(): Promise<string> {
    const seen: string[] = [];
    while (this.failure === undefined && seen.length < rounds) {
      const line = await this.ask('call');
      this.last = line ?? this.last;
      seen.push(line ?? red(`crashed: ${this.failure}`));
    }
    return seen.join(' ');
  }

  /** Lets it come to its end. */
  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#closed;
    process.off('exit', this.#kill);
    const { exitCode, signalCode } = this.#child;
    if (signalCode !== null) this.failure = signalCode;
    else if (exitCode !== 0) this.failure = `exit code ${exitCode}`;
  }
}
