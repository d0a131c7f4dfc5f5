export type Trace = (step: string) => void;

/** Loads node:util only where NODE_DEBUG is set. */
const log = process.env.NODE_DEBUG
  ? process.getBuiltinModule('node:util').debuglog('soswap')
  : undefined;

const nothing: Trace = () => {};

/** Prints one line if NODE_DEBUG names `soswap`. The arguments are those of util.format(). */
export function trace(format: string, ...values: unknown[]): void {
  log?.(format, ...values);
}

/**
 * Returns what prints one line for each step of a work on `path`, with the milliseconds of the step and those since
 * `began`, if NODE_DEBUG names `soswap`; otherwise what does nothing.
 *
 * @param began Of process.hrtime.bigint().
 */
export function traceOf(path: string, began: bigint): Trace {
  if (log?.enabled !== true) return nothing;
  let last = process.hrtime.bigint();
  return (step) => {
    const now = process.hrtime.bigint();
    log(
      '%s: %s: %s ms, %s ms in all',
      path,
      step,
      milliseconds(now - last),
      milliseconds(now - began),
    );
    last = now;
  };
}

function milliseconds(duration: bigint): string {
  return (Number(duration) / 1e6).toFixed(3);
}
