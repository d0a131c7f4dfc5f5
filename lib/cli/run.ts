import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { styleText } from 'node:util';
import { SoHandle } from '../handle/so-handle.js';
import { SoError } from '../internal/errors.js';
import { withJson } from '../internal/json.js';
import { swapOnSignal } from '../reload/signals.js';
import type { SwapReport } from '../swap/report.js';
import { libraryOperand, readArguments, wholeNumber } from './arguments.js';
import { parseSignature, parseValues } from './call-arguments.js';
import { exitOnSignal } from './exit-on-signal.js';
import { microseconds } from './table.js';
import { UsageError } from './usage-error.js';

const usage = `usage: soswap run LIB SYMBOL [OPTIONS] [--args VALUE...]

Calls a function of a library repeatedly and prints each value on a line. Swaps the library on SIGHUP and, with --watch,
after each replacement of the file, and prints a line for each swap and each refusal.

      --signature TEXT  return type and argument types, named as in node:ffi. Defaults to 'int32()'
      --args VALUE...   arguments of the function. This option comes last: every word after it is a value
      --interval MS     milliseconds between two calls. Defaults to 1000
      --count N         number of calls. Defaults to no limit
      --watch           a swap after each replacement of the file
      --settle MS       milliseconds for which the file must stay unchanged before a swap. Defaults to 50
      --poll MS         milliseconds between two comparisons of the file, for file systems without events, with
                        --watch. Defaults to 1000 on file systems known for that, and to no comparisons elsewhere
      --json            output of one JSON object per line: value, error, swap or refused. 64-bit integers are strings
  -h, --help            this help

The calls run on the thread pool of libuv, so that a long call does not block the event loop.

exit codes: 0 the last call succeeded; 1 the library was refused, or the last call failed; 2 wrong usage; 130 Ctrl-C

example: soswap run ./libprice.so quote --signature 'double(double, uint32)' --watch --args 101.5 3
`;

/** Milliseconds that an interrupted process waits for a native call. exit() would wait for the end of the call. */
const exitTimeout = 100;

export async function run(args: string[]): Promise<void> {
  const [options, texts] = splitAtArgs(args);
  const parsed = readArguments(options, usage, ['LIB', 'SYMBOL'], {
    signature: { type: 'string', default: 'int32()' },
    interval: { type: 'string' },
    count: { type: 'string' },
    watch: { type: 'boolean', default: false },
    settle: { type: 'string' },
    poll: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  if (parsed === undefined) return;
  const { values, operands } = parsed;
  const [path = '', symbol = ''] = operands;
  const signature = parseSignature(values.signature);
  const parameters = parseValues(signature.arguments, texts);
  const interval = wholeNumber('interval', values.interval, 1000);
  const count = wholeNumber('count', values.count, Number.POSITIVE_INFINITY);
  const settle = wholeNumber('settle', values.settle, 50);
  const poll = wholeNumber('poll', values.poll, undefined, 1);

  const handle: SoHandle = SoHandle.open(libraryOperand(path), {
    [symbol]: { ...signature, nonblocking: true },
  });
  const call = handle.functions[symbol];
  const print = values.json ? printJson : printText;
  handle.on('swap', (swap) => print({ swap }));
  handle.on('refused', (refused) => print({ refused }));

  let calling: Promise<unknown> | undefined;
  exitOnSignal(() => calling, exitTimeout);
  using _signal = swapOnSignal('SIGHUP', [handle]);
  if (values.watch) handle.watch({ settle, ...(poll && { poll }) });

  for (let calls = 1; calls <= count; calls++) {
    try {
      calling = Promise.resolve(call?.(...parameters));
      print({ value: await calling });
      process.exitCode = 0;
    } catch (error) {
      if (!(error instanceof SoError)) throw new UsageError(`--args: ${messageOf(error)}`);
      print({ error });
      process.exitCode = 1;
    } finally {
      calling = undefined;
    }
    if (calls < count) await (interval > 0 ? sleep(interval) : nextTurn());
  }
  handle.close();
}

/** Splits the arguments at --args. */
function splitAtArgs(args: string[]): [options: string[], values: string[]] {
  const at = args.indexOf('--args');
  return at < 0 ? [args, []] : [args.slice(0, at), args.slice(at + 1)];
}

type Event =
  | { readonly value: unknown }
  | { readonly error: SoError }
  | { readonly swap: SwapReport }
  | { readonly refused: SoError };

function printText(event: Event): void {
  process.stdout.write(`${eventText(event)}\n`);
}

function eventText(event: Event): string {
  if ('value' in event) return String(event.value);
  if ('swap' in event) return styleText('green', swapText(event.swap));
  if ('refused' in event) return styleText('yellow', `refused: ${errorText(event.refused)}`);
  return styleText('red', `failed: ${errorText(event.error)}`);
}

function swapText({ generation, previous, current, totalMicroseconds, retained }: SwapReport) {
  const build = (id: string | null) => id?.slice(0, 8) ?? 'none';
  const old =
    retained.length === 0
      ? 'old image unmapped'
      : `old image retained: ${retained.map(({ code }) => code).join(', ')}`;
  return (
    `swapped: generation ${generation} after ${microseconds(totalMicroseconds)}, ` +
    `inode ${previous.inode} → ${current.inode}, ` +
    `build ${build(previous.buildId)} → ${build(current.buildId)}, ${old}`
  );
}

function errorText({ code, message }: SoError): string {
  return `${message.replaceAll('\n', ' ')} (${code})`;
}

function printJson(event: Event): void {
  const entries = Object.entries(event).map(([key, value]) => [key, jsonValue(value)]);
  process.stdout.write(`${JSON.stringify(withJson(Object.fromEntries(entries)))}\n`);
}

function jsonValue(value: unknown): unknown {
  if (value === undefined) return null; // JSON.stringify() would omit the key of a void function
  if (!(value instanceof SoError)) return value;
  const { code, message, path, symbol, outcome, rolledBack } = value;
  return { code, message, path, symbol, outcome, rolledBack };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
