import { type ParseArgsConfig, parseArgs } from 'node:util';
import { UsageError } from './usage-error.js';

type Options = NonNullable<ParseArgsConfig['options']>;

type Values<O extends Options> = ReturnType<
  typeof parseArgs<{ options: O; allowPositionals: true }>
>['values'];

/** What a command line says; `undefined` where it asked for help, and got it. */
export interface Given<O extends Options> {
  readonly values: Values<O>;
  /** As many as were asked for. */
  readonly operands: readonly string[];
}

/**
 * Reads the arguments of a command.
 *
 * @param usage What --help prints.
 * @param operands What must stand there beside options: `LIB`, `SYMBOL`, …
 * @throws {UsageError} Also parseArgs() throws, with codes that begin with ERR_PARSE_ARGS_.
 */
export function readArguments<const O extends Options>(
  args: string[],
  usage: string,
  operands: readonly string[],
  options: O,
): Given<O> | undefined {
  const help = { type: 'boolean', short: 'h' } as const;
  const { values, positionals } = parseArgs({
    args,
    options: { ...options, help },
    allowPositionals: true,
  });
  if ((values as { help?: boolean }).help) {
    process.stdout.write(usage);
    return undefined;
  }
  const [missing] = operands.slice(positionals.length);
  if (missing !== undefined) throw new UsageError(`${missing} is missing; --help tells the usage`);
  const [surplus] = positionals.slice(operands.length);
  if (surplus !== undefined) {
    throw new UsageError(`'${surplus}' is one argument too many; --help tells the usage`);
  }
  return { values: values as Values<O>, operands: positionals };
}

/** A number of milliseconds, of calls, …; `byDefault` where the option is absent. */
export function wholeNumber<D>(option: string, text: string | undefined, byDefault: D): number | D {
  if (text === undefined) return byDefault;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new UsageError(`--${option} must be a whole number, 0 or more; it is '${text}'`);
}
