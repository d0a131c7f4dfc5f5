/**
 * Work in steps, written once as a generator. {@link runSync} runs the steps without a pause; {@link runAsync} lets the
 * event loop run between them.
 *
 * @module
 */

/** One step in its synchronous and its asynchronous form. A driver runs one of them. */
interface Step<T> {
  sync(): T;
  async(): Promise<T>;
}

/** Work that returns T after its steps. `yield*` includes it in other work. */
export type Steps<T> = Generator<Step<unknown>, T, unknown>;

/** Yields one step and returns its result. */
export function* step<T>(sync: () => T, async: () => Promise<T>): Steps<T> {
  return (yield { sync, async }) as T;
}

/** Runs the synchronous form of all steps. */
export function runSync<T>(steps: Steps<T>): T {
  let next = steps.next();
  while (!next.done) {
    let result: unknown;
    try {
      result = next.value.sync();
    } catch (error) {
      next = steps.throw(error);
      continue;
    }
    next = steps.next(result);
  }
  return next.value;
}

/** Runs the asynchronous form of all steps, and awaits each. */
export async function runAsync<T>(steps: Steps<T>): Promise<T> {
  let next = steps.next();
  while (!next.done) {
    let result: unknown;
    try {
      result = await next.value.async();
    } catch (error) {
      next = steps.throw(error);
      continue;
    }
    next = steps.next(result);
  }
  return next.value;
}
