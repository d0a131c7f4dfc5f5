import { SoError } from '../internal/errors.js';

/**
 * Paths of candidates that load on another thread, and that nobody waits for any more: a constructor has not returned. The
 * loader's lock is theirs, and whoever asks the loader for something waits as long.
 */
const abandoned = new Map<Promise<unknown>, string>();

/** Remembers a load until it ends. */
export function abandon(load: Promise<unknown>, path: string): void {
  abandoned.set(load, path);
  void load.finally(() => abandoned.delete(load)).catch(() => {});
}

/**
 * Refuses to ask the loader for another image while it would hold this thread.
 *
 * @throws {SoError} `ERR_SOSWAP_BUSY`
 */
export function assertLoaderFree(path: string): void {
  const [other] = abandoned.values();
  if (other === undefined) return;
  const message = `cannot load '${path}': a constructor of '${other}' has not returned, and the loader waits for it`;
  throw new SoError('ERR_SOSWAP_BUSY', message, path);
}
