import {
  constants,
  copyFileSync,
  existsSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { install } from '../files/install.js';
import { readArguments } from './arguments.js';
import {
  Cancellation,
  readPlan,
  swapExitCodes,
  swapFleet,
  swapOptions,
  swapUsage,
} from './fleet/run.js';
import { readSelection } from './fleet/selection.js';

const usage = `usage: soswap deploy SOURCE DEST [--name N | --pid P | --all] [OPTIONS]

Installs SOURCE as DEST, as 'soswap install' does, then makes it take effect in all processes, as 'soswap swap DEST' does. If
it does not take effect, DEST is what it was.

${swapUsage}
  -h, --help        this help

${swapExitCodes}

example: soswap deploy build/libprice.so /srv/shop/libprice.so --rolling --wait 5
`;

export async function run(args: string[]): Promise<void> {
  const parsed = readArguments(args, usage, ['SOURCE', 'DEST'], swapOptions);
  if (parsed === undefined) return;
  const { values, operands } = parsed;
  const [source = '', destination = ''] = operands;
  const library = resolve(destination);
  const plan = readPlan(values, library, readSelection(values));
  using cancellation = new Cancellation();
  const before = keep(library);
  try {
    await install(source, destination);
    const { exitCode } = await swapFleet(plan, cancellation);
    if (exitCode === 1) before?.restore();
  } finally {
    before?.drop();
  }
}

/**
 * Keeps the file that is at a path, to put it back; `undefined`: there is none. Removes what deployers have kept that were
 * killed.
 */
function keep(path: string): { restore(): void; drop(): void } | undefined {
  let file: string;
  try {
    file = realpathSync(path);
  } catch {
    return undefined;
  }
  const directory = dirname(file);
  for (const name of readdirSync(directory)) {
    const [, shown, pid] = /^(.*)\.(\d+)\.before$/.exec(name) ?? [];
    if (shown === basename(file) && !existsSync(`/proc/${pid}`)) rmSync(join(directory, name));
  }
  const copy = `${file}.${process.pid}.before`;
  copyFileSync(file, copy, constants.COPYFILE_FICLONE);
  return { restore: () => renameSync(copy, file), drop: () => rmSync(copy, { force: true }) };
}
