import { resolve } from 'node:path';
import { install } from '../files/install.js';
import { readArguments } from './arguments.js';
import { progress } from './progress.js';

const usage = `usage: soswap install SOURCE DEST

Replaces the file DEST with the library SOURCE in one step: checks SOURCE, writes a copy beside DEST, syncs it and
renames it. A program that opens DEST meanwhile gets the whole old file or the whole new file. The copy has the mode
and owner of DEST. If DEST is a symbolic link, the file that it leads to is replaced.

  -h, --help   this help

exit codes: 0 installed; 1 SOURCE was refused or DEST could not be written, DEST is unchanged; 2 wrong usage

example: soswap install build/libprice.so /srv/shop/libprice.so
`;

export async function run(args: string[]): Promise<void> {
  const parsed = readArguments(args, usage, ['SOURCE', 'DEST'], {});
  if (parsed === undefined) return;
  const [source = '', destination = ''] = parsed.operands;
  using _shown = progress(`installing ${source}`, 1000);
  await install(source, destination);
  process.stdout.write(`installed ${resolve(destination)}\n`);
}
