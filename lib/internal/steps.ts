/**
 * Work in steps that two drivers run: {@link runSync} in one go, {@link runAsync} while the event loop goes on. What is
 * written once as a generator works in both forms.
 *
 * @module
 */

/** One step in its two forms. Only the driver's form runs. */
interface Step<T> {
  sync(): T;
  async(): Promise<T>;
}

/** Work that returns T after some steps; `yield*` makes it a part of other work. */
export type Steps<T> = Generator<Step<unknown>, T, unknown>;

/** A step that takes time. */
export function* step<T>(sync: () => T, async: () => Promise<T>): Steps<T> {
  return (yield { sync, async }) as T;
}

/** Runs all steps on this thread, in one go. */
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

/** Runs all steps, and waits for each. */
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
