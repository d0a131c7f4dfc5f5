#!/usr/bin/env node
// The command `soswap`. A new command is a file in this directory that exports `run`, and an entry below.

import { readFileSync } from 'node:fs';
import { UsageError } from './usage-error.js';

interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** Called when the command runs: --help and --version do not need the addon. */
  readonly load: () => Promise<{ run(args: string[]): Promise<void> }>;
}

const commands: Readonly<Record<string, Command>> = {
  demo: {
    summary: 'replace libraries under running processes, with and without soswap',
    load: () => import('./demo.js'),
  },
  run: {
    summary: 'call a function repeatedly, and swap on SIGHUP or when the file changes',
    load: () => import('./run.js'),
  },
  inspect: {
    summary: 'print the properties of a library, and whether its image can be unmapped',
    load: () => import('./inspect.js'),
  },
  install: {
    summary: 'check a library and replace a file with it in one step',
    load: () => import('./install.js'),
  },
  watch: {
    summary: 'print a line and run a command after each replacement of a library',
    load: () => import('./watch.js'),
  },
  ps: {
    summary: 'list the libraries of the processes that serve a control socket',
    load: () => import('./ps.js'),
  },
  swap: {
    summary: 'make a library take effect in all processes that have it open, or in none',
    load: () => import('./swap.js'),
  },
  rollback: {
    summary: 'have all processes go back to the generation before',
    load: () => import('./rollback.js'),
  },
  deploy: {
    summary: 'install a library, and make it take effect in all processes',
    load: () => import('./deploy.js'),
  },
  events: {
    summary: 'print what becomes of swaps in all processes',
    load: () => import('./events.js'),
  },
  loaded: {
    summary: 'list the snapshots and deleted libraries that a process maps',
    load: () => import('./loaded.js'),
  },
  signatures: {
    summary: 'print the definitions of a library from its C header',
    load: () => import('./signatures.js'),
  },
  include: {
    summary: 'print the directory of soswap.h, for a compiler',
    load: () => import('./include.js'),
  },
  build: {
    summary: 'compile the addon of soswap where no binary of the package loads',
    load: () => import('./build.js'),
  },
};

const usage = `usage: soswap COMMAND [OPTIONS]

Tools for hot-swapping native shared objects in Node.js processes.

${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`)
  .join('\n')}

  soswap COMMAND --help   prints the options of a command
  soswap --version        prints the version
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
    fail(`there is no command '${name}'; soswap --help lists the commands`, 2);
  }
}

function fail(message: string, exitCode: number): void {
  process.stderr.write(`soswap: ${message.trim().replaceAll(/\s*\n\s*/g, ' ')}\n`);
  process.exitCode = exitCode;
}

// The reader of the output may close it early: `soswap demo | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') fail(`cannot write the output: ${error.message}`, 1);
  process.exit();
});

process.stderr.on('error', () => {}); // no place is left to report an error

main(process.argv.slice(2)).catch((error: unknown) => {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const wrongUsage = error instanceof UsageError || /^ERR_(PARSE_ARGS|INVALID_ARG)_/.test(code);
  fail(`${message ?? String(error)}`, wrongUsage ? 2 : 1);
  process.exit(); // ends watches and timers of the command
});
