import { existsSync } from 'node:fs';
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { UsageError } from './usage-error.js';

type Options = NonNullable<ParseArgsConfig['options']>;

type Values<O extends Options> = ReturnType<
  typeof parseArgs<{ options: O; allowPositionals: true }>
>['values'];

/** The options and operands of a command line. */
export interface ParsedArguments<O extends Options> {
  readonly values: Values<O>;
  /** One for each operand that the command takes. */
  readonly operands: readonly string[];
}

/**
 * Parses the arguments of a command. With --help it prints `usage` and returns `undefined`.
 *
 * @param operands The names of the required operands: `LIB`, `SYMBOL`, …
 * @throws {UsageError} An operand is missing, or there is one too many.
 * @throws {TypeError} `ERR_PARSE_ARGS_…` of parseArgs(): an option is unknown or lacks its value.
 */
export function readArguments<const O extends Options>(
  args: string[],
  usage: string,
  operands: readonly string[],
  options: O,
): ParsedArguments<O> | undefined {
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
  if (missing !== undefined) throw new UsageError(`${missing} is missing; see --help`);
  const [surplus] = positionals.slice(operands.length);
  if (surplus !== undefined) throw new UsageError(`unexpected argument '${surplus}'; see --help`);
  return { values: values as Values<O>, operands: positionals };
}

/** Returns the path of the operand LIB: of a file in the current directory, also by its bare name, or a name to search for. */
export function libraryOperand(text = ''): string {
  return !text.includes('/') && existsSync(text) ? `./${text}` : text;
}

/**
 * Returns the number that an option gives; `absent` if the option is absent.
 *
 * @throws {UsageError} The text is not a whole number, `least` or more.
 */
export function wholeNumber<D>(
  option: string,
  text: string | undefined,
  absent: D,
  least = 0,
): number | D {
  if (text === undefined) return absent;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new UsageError(`--${option} must be a whole number, ${least} or more. Received '${text}'`);
}
