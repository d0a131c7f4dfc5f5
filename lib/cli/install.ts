import { resolve } from 'node:path';
import { install } from '../files/install.js';
import { readArguments } from './arguments.js';

const usage = `usage: soswap install SOURCE DEST

Puts the library SOURCE in the place of the file DEST in one step: it is checked, written beside DEST, synced and
renamed. Whoever opens DEST meanwhile sees the old file or the new one, never a half. DEST keeps its mode and
owner; a symbolic link is followed. SOURCE stays.

  -h, --help   prints this

exit codes: 0 installed; 1 refused or failed, DEST is as it was; 2 wrong usage

example: soswap install build/libprice.so /srv/shop/libprice.so
`;

export async function run(args: string[]): Promise<void> {
  const given = readArguments(args, usage, ['SOURCE', 'DEST'], {});
  if (given === undefined) return;
  const [source = '', destination = ''] = given.operands;
  await install(source, destination);
  process.stdout.write(`installed ${resolve(destination)}\n`);
}
