import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import type { Library } from './libraries.js';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** What is swapped, and beside what. */
export interface Setup {
  readonly library: Library;
  /** Bound functions, data included. */
  readonly functions: number;
  /** Libraries that are open besides. */
  readonly others: readonly string[];
}

/** The programs that swap, ready to run. */
export class Programs {
  readonly #limit: string;
  readonly #limitLibrary: string;
  readonly #turns: string;
  readonly #contender: string;

  /** Compiles them into `directory`, which is inside of this checkout: they import the package by its name. */
  constructor(directory: string) {
    this.#limit = join(directory, 'limit');
    this.#limitLibrary = join(directory, 'limit.so');
    this.#turns = join(directory, 'turns.so');
    const [compiler, ...flags] = (process.env.CC ?? 'cc').split(' ');
    flags.push('-O2', '-Wall', '-Wextra', '-Werror');
    execFileSync(compiler!, [...flags, '-o', this.#limit, here('limit.c'), '-ldl']);
    const library = [...flags, '-shared', '-fPIC', '-o'];
    execFileSync(compiler!, [...library, this.#limitLibrary, here('limit.c')]);
    execFileSync(compiler!, [...library, this.#turns, here('turns.c')]);
    this.#contender = join(directory, 'contender.js');
    // The loader of a test runner would be a thread of the process that is measured.
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 };
    const source = readFileSync(here('contender.ts'), 'utf8');
    writeFileSync(this.#contender, ts.transpile(source, options));
  }

  /** Starts the program that swaps in this way, files of its own in `directory`; `flags` are for Node.js. */
  async start(
    name: string,
    setup: Setup,
    directory: string,
    ...flags: string[]
  ): Promise<Contender> {
    const file = writeSetup(join(directory, name.replaceAll(/\W/g, '-')), setup);
    const { NODE_OPTIONS: _, ...env } = process.env;
    // node:ffi warns that it is experimental.
    const program = [
      '--no-warnings',
      '--expose-gc',
      ...flags,
      this.#contender,
      name,
      file,
      this.#limitLibrary,
    ];
    const child =
      name === limitName
        ? spawn(this.#limit, [file], { stdio: ['pipe', 'pipe', 'inherit'] })
        : spawn(process.execPath, program, {
            stdio: ['pipe', 'pipe', 'inherit'],
            env: { ...env, LD_PRELOAD: this.#turns },
          });
    const kill = () => child.kill('SIGKILL');
    process.prependOnceListener('exit', kill); // before the files are gone that it swaps
    child.once('close', () => process.off('exit', kill));
    const contender = new Contender(name, child);
    await contender.ready();
    return contender;
  }
}

/** For the library at `own`.so: each program replaces a file of its own. */
function writeSetup(own: string, { library, functions, others }: Setup): string {
  const lines = [
    `path ${own}.so`,
    `next ${own}.next`,
    ...library.versions.map((version) => `version ${version}`),
    `kind ${library.marker}`,
    ...library.symbols.slice(0, functions).map((symbol) => `symbol ${symbol}`),
    ...others.map((other) => `other ${other}`),
    ...library.needed.map((name) => `needed ${name}`),
  ];
  writeFileSync(`${own}.setup`, `${lines.join('\n')}\n`);
  return `${own}.setup`;
}

/** What everything is measured against. */
export const limitName = 'C';

/** Nanoseconds that one swap took. */
export interface SwapTimes {
  /** That the main thread was held. */
  readonly pause: number;
  readonly total: number;
  /** That the main thread was held in all. */
  readonly held: number;
  /** What the report of soswap says of the pause. */
  readonly told: number | null;
}

/** A program that swaps when it is asked to. */
export class Contender {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #lines;

  constructor(name: string, child: ChildProcess) {
    this.name = name;
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  async ready(): Promise<void> {
    await this.#answer();
  }

  /** Has it swap so often. */
  async swap(count: number): Promise<SwapTimes[]> {
    if (this.name === limitName) {
      const times = (await this.#ask(`${count}`)).split(' ').map(Number);
      return times.map((time) => ({ pause: time, total: time, held: time, told: null }));
    }
    const times = await this.request<[number, number, number, number | null][]>({ swaps: count });
    return times.map(([pause, total, held, told]) => ({ pause, total, held, told }));
  }

  /** The requests of contender.ts. */
  async request<T>(request: object): Promise<T> {
    return JSON.parse(await this.#ask(JSON.stringify(request)));
  }

  async #ask(request: string): Promise<string> {
    this.#child.stdin!.write(`${request}\n`);
    return this.#answer();
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, 'close');
    this.#child.stdin!.end();
    await closed;
  }

  async #answer(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (!done) return value;
    const { exitCode, signalCode } = this.#child;
    throw new Error(`${this.name} ended with ${signalCode ?? exitCode}`);
  }
}
