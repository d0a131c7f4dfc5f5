/**
 * The control socket of a process: an HTTP server on a Unix socket, by which a deployer swaps the libraries of all threads of
 * the process as one, and learns what became of it. `soswap ps`, `soswap swap` and others are its clients; so is curl.
 *
 * @module soswap/control
 */

import { isMainThread } from 'node:worker_threads';
import { ControlServer } from './control/serve.js';
import { usualName } from './control/socket-path.js';
import { Joined } from './control/threads.js';
import type { SoHandle } from './handle/so-handle.js';
import { checkHandles } from './handle/swap-all.js';
import { argumentTypeError, argumentValueError } from './internal/errors.js';
import { callback, type Keys, readOptions } from './internal/options.js';

/** The options of {@link serveControl}. */
export interface ControlOptions {
  /**
   * The path of the socket, whose directory must be this user's alone (mode 0700). Defaults to `NAME-PID.sock` in
   * `$SOSWAP_CONTROL_DIR`, or else in `$XDG_RUNTIME_DIR/soswap`, for root in `/run/soswap`, or in `soswap-UID` in
   * `$TMPDIR`: the first of these that can be had. The commands look there.
   */
  readonly path?: string;
  /** The name of the service: letters, digits, `.`, `_` and `-`. Defaults to that of the script. */
  readonly name?: string;
  /** The handles of this thread that are served. Defaults to all that are open when they are asked for. */
  readonly handles?: Iterable<SoHandle>;
  /**
   * Says whether the process is well, for `GET /v1/health`: `false`, a sentence or an error says that it is not. Defaults to
   * whether every handle has an image.
   */
  readonly health?: () => unknown;
}

/** A control socket that is served. */
export interface Control extends AsyncDisposable {
  /** The path of the socket. */
  readonly path: string;
  /**
   * Discards what was prepared, ends all connections and removes the socket. Closing again does nothing.
   *
   * @example
   * const control = await serveControl();
   * await control.close();
   */
  close(): Promise<void>;
}

const keys: Keys<ControlOptions> = { path: true, name: true, handles: true, health: true };

/**
 * Serves the control socket of this process, for root and the user of the process. It keeps no process alive, and is
 * removed at the end of the process. Worker threads take part with {@link joinControl}.
 *
 * @returns Resolves when it listens. Rejects with `ERR_SOSWAP_CONTROL`: the socket or its directory cannot be had.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`.
 * @throws {Error} `ERR_WORKER_UNSUPPORTED_OPERATION`: the caller is a worker thread.
 *
 * @example
 * await using control = await serveControl({ name: 'shop' });
 * console.log(control.path.endsWith(`/shop-${process.pid}.sock`)); // true
 */
export async function serveControl(options: ControlOptions = {}): Promise<Control> {
  const { path, name = usualName(), handles, health } = readOptions('options', options, keys);
  if (path !== undefined && (typeof path !== 'string' || !path.startsWith('/'))) {
    throw argumentTypeError('options.path', 'an absolute path', path);
  }
  if (typeof name !== 'string') throw argumentTypeError('options.name', 'a string', name);
  if (!/^[\w.-]{1,40}$/.test(name)) {
    const why = 'must have 1 to 40 letters, digits, dots, underscores or hyphens';
    throw argumentValueError('options.name', why, name);
  }
  if (!isMainThread) {
    const message = 'serveControl() works only on the main thread: in a worker, call joinControl()';
    throw Object.assign(new Error(message), { code: 'ERR_WORKER_UNSUPPORTED_OPERATION' });
  }
  const server = new ControlServer({
    path,
    name,
    handles: chosen(handles),
    health: callback<() => unknown>('options.health', health),
  });
  await server.listen();
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= server.close();
    return closing;
  };
  return { path: server.path, close, [Symbol.asyncDispose]: close };
}

/**
 * Makes the handles of this worker thread take part in the control socket that the main thread serves, now or later.
 *
 * @param handles Those that take part. Defaults to all that are open when they are asked for.
 * @returns An object whose disposal ends it.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`.
 * @throws {Error} `ERR_WORKER_UNSUPPORTED_OPERATION`: the caller is the main thread.
 *
 * @example
 * if (!isMainThread) joinControl(); // of node:worker_threads
 */
export function joinControl(handles?: Iterable<SoHandle>): Disposable {
  const own = chosen(handles);
  if (isMainThread) {
    const message = 'joinControl() is for worker threads: on the main thread, call serveControl()';
    throw Object.assign(new Error(message), { code: 'ERR_WORKER_UNSUPPORTED_OPERATION' });
  }
  const joined = new Joined(own);
  return { [Symbol.dispose]: () => joined.end() };
}

function chosen(handles: unknown): (() => Iterable<SoHandle>) | undefined {
  if (handles === undefined) return undefined;
  const all = checkHandles(handles).map(([handle]) => handle);
  return () => all;
}
