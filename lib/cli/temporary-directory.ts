import * as fs from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';

/** fs.mkdtempDisposableSync(), which Node.js has from 24.4 on. */
const { mkdtempDisposableSync = makeDirectory } = fs as Partial<
  Record<'mkdtempDisposableSync', typeof makeDirectory>
>;

function makeDirectory(prefix: string): { readonly path: string; remove(): void } {
  const path = fs.mkdtempSync(prefix);
  return { path, remove: () => fs.rmSync(path, { recursive: true, force: true }) };
}

/** Creates a directory, which is removed when this process exits or gets SIGINT, SIGTERM or SIGHUP. Returns its path. */
export function temporaryDirectory(prefix: string): string {
  const { path, remove } = mkdtempDisposableSync(join(tmpdir(), prefix));
  process.once('exit', remove);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  }
  return path;
}
