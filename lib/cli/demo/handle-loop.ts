// The soswap loop: one process with a SoHandle, which handles every replacement. It reads the commands `open PATH`, `call`
// and `swap`. It answers `call` with the line that action() prints, and `swap` with a line of JSON.

import { createInterface } from 'node:readline';
import { SoHandle } from '../../handle/so-handle.js';
import { SoError } from '../../internal/errors.js';

/** The answer to `swap`. */
export type SwapAnswer = Swapped | { readonly refused: string };

export interface Swapped {
  readonly inodes: readonly [before: string, after: string];
  /** Whether the build ids are equal. */
  readonly sameBuild: boolean;
  readonly microseconds: number;
}

const open = (path: string) => SoHandle.open(path, { action: { return: 'int32' } });
let so: ReturnType<typeof open> | undefined;

for await (const line of createInterface(process.stdin)) {
  if (line.startsWith('open ')) so = open(line.slice('open '.length));
  else if (line === 'call') so?.functions.action();
  else if (so !== undefined) console.log(JSON.stringify(await swap(so)));
}

async function swap(so: { swap: SoHandle['swap'] }): Promise<SwapAnswer> {
  try {
    const { previous, current, totalMicroseconds } = await so.swap();
    return {
      inodes: [String(previous.inode), String(current.inode)],
      sameBuild: previous.buildId === current.buildId,
      microseconds: totalMicroseconds,
    };
  } catch (error) {
    if (error instanceof SoError) return { refused: error.code };
    throw error;
  }
}
