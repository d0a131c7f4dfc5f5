import { include } from '../include.js';
import { readArguments } from './arguments.js';

const usage = `usage: soswap include

Prints the directory of soswap.h, which declares what a library can say and ask when it is swapped.

  -h, --help   this help

example: cc -shared -fPIC -I"$(npx soswap include)" price.c -o libprice.so
`;

export async function run(args: string[]): Promise<void> {
  if (readArguments(args, usage, [], {}) === undefined) return;
  process.stdout.write(`${include}\n`);
}
