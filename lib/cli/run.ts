import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { SoHandle } from '../handle/so-handle.js';
import { SoError } from '../internal/errors.js';
import type { SwapReport } from '../swap/report.js';
import { swapOnSignal } from '../triggers/signals.js';
import { readArguments, wholeNumber } from './arguments.js';
import { parseSignature, parseValues } from './call-text.js';
import { endWhenInterrupted } from './interrupt.js';
import { toJson } from './json.js';
import { green, red, yellow } from './paint.js';
import { microseconds } from './table.js';
import { UsageError } from './usage-error.js';

const usage = `usage: soswap run LIB SYMBOL [OPTIONS] [--args VALUE...]

Calls a function of a library again and again and prints each value in a line. At SIGHUP, and with --watch whenever
the file was replaced, the new file takes effect, and a line tells of it; so does one if it is refused.

      --signature TEXT  return type and argument types of node:ffi; default 'int32()'
      --args VALUE...   the arguments; everything that follows is one, so this comes last
      --interval MS     milliseconds between two calls; default 1000
      --count N         ends after N calls; default: goes on until Ctrl-C
      --watch           swaps when the file has been replaced
      --settle MS       milliseconds for which the file must have been left alone; default 50
      --json            one JSON object in each line: value, error, swap or refused; 64-bit integers are strings
  -h, --help            prints this

Calls run on a thread of libuv's pool, so that a long one holds nothing up.

exit codes: 0 all calls were made; 1 the library was refused, or the last call failed; 2 wrong usage; 130 Ctrl-C

example: soswap run ./libprice.so quote --signature 'double(double, uint32)' --watch --args 101.5 3
`;

/** How long an interrupted process waits for a native call: exit() would wait for its end. Milliseconds. */
const patience = 100;

export async function run(args: string[]): Promise<void> {
  const [before, texts] = splitAtArgs(args);
  const given = readArguments(before, usage, ['LIB', 'SYMBOL'], {
    signature: { type: 'string', default: 'int32()' },
    interval: { type: 'string' },
    count: { type: 'string' },
    watch: { type: 'boolean', default: false },
    settle: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  if (given === undefined) return;
  const { values, operands } = given;
  const [path = '', symbol = ''] = operands;
  const signature = parseSignature(values.signature);
  const parameters = parseValues(signature.arguments, texts);
  const interval = wholeNumber('interval', values.interval, 1000);
  const count = wholeNumber('count', values.count, Number.POSITIVE_INFINITY);
  const settle = wholeNumber('settle', values.settle, 50);

  const handle: SoHandle = SoHandle.open(path, { [symbol]: { ...signature, nonblocking: true } });
  const call = handle.functions[symbol];
  const tell = values.json ? tellJson : tellText;
  handle.on('swap', (swap) => tell({ swap }));
  handle.on('refused', (refused) => tell({ refused }));

  let calling: Promise<unknown> | undefined;
  endWhenInterrupted(() => calling, patience);
  using _signal = swapOnSignal('SIGHUP', [handle]);
  if (values.watch) handle.watch({ settle });

  for (let calls = 1; calls <= count; calls++) {
    try {
      calling = Promise.resolve(call?.(...parameters));
      tell({ value: await calling });
      process.exitCode = 0;
    } catch (error) {
      if (!(error instanceof SoError)) throw new UsageError(`--args: ${messageOf(error)}`);
      tell({ error });
      process.exitCode = 1;
    } finally {
      calling = undefined;
    }
    if (calls < count) await (interval > 0 ? sleep(interval) : nextTurn());
  }
  handle.close();
}

/** Options, and what follows --args. */
function splitAtArgs(args: string[]): [options: string[], values: string[]] {
  const at = args.indexOf('--args');
  return at < 0 ? [args, []] : [args.slice(0, at), args.slice(at + 1)];
}

type News =
  | { readonly value: unknown }
  | { readonly error: SoError }
  | { readonly swap: SwapReport }
  | { readonly refused: SoError };

function tellText(news: News): void {
  process.stdout.write(`${text(news)}\n`);
}

function text(news: News): string {
  if ('value' in news) return String(news.value);
  if ('swap' in news) return green(swapText(news.swap));
  if ('refused' in news) return yellow(`refused: ${errorText(news.refused)}`);
  return red(`failed: ${errorText(news.error)}`);
}

function swapText({ generation, previous, current, totalMicroseconds, retained }: SwapReport) {
  const build = (id: string | null) => id?.slice(0, 8) ?? 'none';
  const old =
    retained.length === 0
      ? 'old image unmapped'
      : `old image stays: ${retained.map(({ code }) => code).join(', ')}`;
  return (
    `swapped: generation ${generation} after ${microseconds(totalMicroseconds)}, ` +
    `inode ${previous.inode} → ${current.inode}, ` +
    `build ${build(previous.buildId)} → ${build(current.buildId)}, ${old}`
  );
}

function errorText({ code, message }: SoError): string {
  return `${message.replaceAll('\n', ' ')} (${code})`;
}

function tellJson(news: News): void {
  const plain = Object.entries(news).map(([key, value]) => {
    // A function without a result has a value all the same.
    if (value === undefined) return [key, null];
    if (!(value instanceof SoError)) return [key, value];
    const { code, message, path, symbol, rolledBack } = value;
    return [key, { code, message, path, symbol, rolledBack }];
  });
  process.stdout.write(toJson(Object.fromEntries(plain)));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
