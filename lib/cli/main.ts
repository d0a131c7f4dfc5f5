#!/usr/bin/env node
// The command `soswap`. To add a command: a file beside this one that exports `run`, and a line below.

import { existsSync, readFileSync } from 'node:fs';
import { UsageError } from './usage-error.js';

interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** Loaded when it is asked for: help and version need no addon. */
  readonly load: () => Promise<{ run(args: string[]): Promise<void> }>;
}

const commands: Readonly<Record<string, Command>> = {
  demo: {
    summary: 'replace libraries under running processes, with dlopen(3) alone and with soswap',
    load: () => import('./demo.js'),
  },
  run: {
    summary: 'call a function again and again, and swap when the file changes or on SIGHUP',
    load: () => import('./run.js'),
  },
  inspect: {
    summary: 'tell what a library is made of, and whether it can be unmapped',
    load: () => import('./inspect.js'),
  },
  install: {
    summary: 'put a library in the place of another in one step',
    load: () => import('./install.js'),
  },
  watch: {
    summary: 'print a line or run a command whenever a library was replaced',
    load: () => import('./watch.js'),
  },
  loaded: {
    summary: 'list the private copies and the deleted libraries that a process runs',
    load: () => import('./loaded.js'),
  },
  build: {
    summary: "compile soswap's addon where no binary of the package fits",
    load: () => import('./build.js'),
  },
};

const usage = `usage: soswap COMMAND [OPTIONS]

${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`)
  .join('\n')}

  soswap COMMAND --help   tells the options of a command
  soswap --version        tells the version
`;

function version(): string {
  const text = readFileSync(new URL(import.meta.resolve('soswap/package.json')), 'utf8');
  const { version }: { version: string } = JSON.parse(text);
  return version;
}

async function main([name, ...args]: string[]): Promise<void> {
  if (name === '--help' || name === '-h') {
    process.stdout.write(usage);
  } else if (name === '--version' || name === '-v') {
    process.stdout.write(`${version()}\n`);
  } else if (name === undefined) {
    process.stderr.write(usage);
    process.exitCode = 2;
  } else if (Object.hasOwn(commands, name)) {
    await (await commands[name]?.load())?.run(args);
  } else {
    fail(`there is no command '${name}'; soswap --help lists them`, 2);
  }
}

function fail(message: string, exitCode: number): void {
  process.stderr.write(`soswap: ${message.trim().replaceAll(/\s*\n\s*/g, ' ')}\n`);
  process.exitCode = exitCode;
}

/** A name without a slash is looked up as dlopen(3) does, which surprises whoever sees the file lie there. */
function wayOut(error: unknown): string {
  const { code, path = '' } = error as NodeJS.ErrnoException;
  const here = code === 'ERR_SOSWAP_NOT_FOUND' && !path.includes('/') && existsSync(path);
  return here ? `; for the file of this directory write ./${path}` : '';
}

// Whoever reads the output may stop early: `soswap demo | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') fail(`cannot write the output: ${error.message}`, 1);
  process.exit();
});

process.stderr.on('error', () => {}); // nobody is left to be told

main(process.argv.slice(2)).catch((error: unknown) => {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const wrongUsage = error instanceof UsageError || /^ERR_(PARSE_ARGS|INVALID_ARG)_/.test(code);
  fail(`${message ?? String(error)}${wayOut(error)}`, wrongUsage ? 2 : 1);
  // Whatever else is under way has lost its purpose.
  process.exit();
});
