import { statSync } from 'node:fs';
import { styleText } from 'node:util';
import { features } from '../facts/features.js';
import { inspect, type SoInfo, type UnloadVerdict } from '../facts/inspect.js';
import { addonAdvice } from '../internal/errors.js';
import { pad } from '../internal/table.js';
import type { SoDependency } from '../native/types.js';
import { libraryOperand, readArguments } from './arguments.js';
import { progress } from './progress.js';
import { table } from './table.js';

const usage = `usage: soswap inspect LIB [--json] [--symbols]

Prints the properties of a library, and whether its image can be unmapped after a swap. It reads the file and does
not load it, so that no code of the library runs. LIB is a path, or a bare name like libz.so.1: a file in the current
directory, or else what dlopen(3) finds.

      --json      output of all properties and symbols as one JSON object
      --symbols   output of every export and import
  -h, --help      this help

exit codes: 0 the image can be unmapped; 3 it stays mapped, or unmapping could crash: the output gives reasons and
            cures, and a swap takes effect all the same; 1 the library cannot be loaded: the output, or the error, says
            why; 2 wrong usage

example: soswap inspect ./libprice.so
`;

export async function run(args: string[]): Promise<void> {
  const parsed = readArguments(args, usage, ['LIB'], {
    json: { type: 'boolean' },
    symbols: { type: 'boolean' },
  });
  if (parsed === undefined) return;
  const info = inspectVisibly(libraryOperand(parsed.operands[0]));
  const { json, symbols } = parsed.values;
  process.stdout.write(
    json
      ? `${JSON.stringify({ ...info, fastCalls: features.fastCalls }, null, 2)}\n`
      : describe(info),
  );
  if (symbols && !json) process.stdout.write(symbolTables(info));
  if (info.refusal !== null) process.exitCode = 1;
  else if (info.unload.outcome !== 'clean') process.exitCode = 3;
}

/** A library of this size takes about a second to read, in bytes. */
const large = 64 * 2 ** 20;

function inspectVisibly(path: string): SoInfo {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  using _shown = size < large ? undefined : progress(`reading ${number(size)} bytes`, 0);
  return inspect(path);
}

function describe(info: SoInfo): string {
  const { machine, soname, buildId, size, memorySize, runpath, rpath, flags } = info;
  const fields: [name: string, lines: readonly string[]][] = [
    ['machine', [machine]],
    ['soname', [soname ?? styleText('dim', 'none')]],
    ['build id', [buildId ?? styleText('dim', 'none')]],
    ['size', [`${number(size)} bytes, ${number(memorySize)} in memory`]],
    ['runpath', list([runpath, rpath].filter((each) => each !== null))],
    ['flags', list([flags.join(', ')].filter(Boolean))],
    ['needs', list(info.dependencies.map(dependency))],
    ['exports', [exportsLine(info)]],
    ['imports', [importsLine(info)]],
    ...(info.hooks.length > 0 ? [['hooks', [info.hooks.join(', ')]] as [string, string[]]] : []),
    ...(info.keeps.length > 0 ? [['keeps', [info.keeps.join(', ')]] as [string, string[]]] : []),
    ...registryFields(info),
    ['program', programLines(info)],
    ...(info.addonSymbol === null ? [] : [addonField(info.addonSymbol)]),
    ['SoHandle', verdictLines(info.unload)],
    ['dlclose(3)', verdictLines(info.plain)],
    ['calls', [callsLine()]],
  ];
  const lines = fields.flatMap(([name, [first = '', ...further]]) => [
    `${pad(styleText('dim', name), 12)}${first}`,
    ...further.map((line) => ' '.repeat(12) + line),
  ]);
  return `${styleText('bold', info.path)}\n${lines.map((line) => `  ${line}\n`).join('')}`;
}

const addonField = (symbol: string): [string, string[]] => [
  'addon',
  [styleText('yellow', addonAdvice(symbol))],
];

/** What this Node.js does, whatever the library. */
function callsLine(): string {
  const { active, reason, byDefault } = features.fastCalls;
  if (!active) return `${styleText('yellow', 'through Node-API')}: ${reason}`;
  return byDefault ? 'fast, unless leaf is false' : 'fast with leaf: true';
}

/** Most libraries have none. */
function registryFields({ registries }: SoInfo): [name: string, lines: readonly string[]][] {
  return registries.map(({ name, effect, cure }) => [
    'registry',
    [`${name}: ${effect}`, `${styleText('dim', 'cure:')} ${cure}`],
  ]);
}

const list = (lines: readonly string[]) => (lines.length > 0 ? lines : [styleText('dim', 'none')]);
const number = (value: number) => value.toLocaleString('en');

function dependency({ name, path, loaded, lookedIn = [], defect }: SoDependency): string {
  if (path === null) {
    const where = lookedIn.length > 0 ? `; searched ${lookedIn.join(', ')}` : '';
    return `${name} ${styleText('red', 'is not found')}${where}`;
  }
  const wrong = defect === undefined ? '' : ` ${styleText('red', defect)}`;
  return `${name} ${styleText('dim', '=>')} ${path}${loaded ? styleText('dim', ' (already loaded)') : ''}${wrong}`;
}

function exportsLine({ exports }: SoInfo): string {
  const functions = exports.filter(({ type }) => type === 'function').length;
  return `${exports.length}, including ${functions} functions`;
}

/** Functions that arrange for code of a library to run later, or on other threads. */
const deferringFunctions =
  /^(pthread_create|thrd_create|pthread_key_create|tss_create|pthread_atfork|__register_atfork|__cxa_thread_atexit(_impl)?|atexit|on_exit|signal|sigaction|timer_create|dlopen)$/;

function importsLine({ imports }: SoInfo): string {
  const used = imports.map(({ name }) => name).filter((name) => deferringFunctions.test(name));
  return `${imports.length}${used.length > 0 ? `, including ${used.join(', ')}` : ''}`;
}

/** The names that the program exports too. */
function programLines({ programNames }: SoInfo): readonly string[] {
  const { exports, imports, dependencies, obstacle } = programNames;
  const shared = exports.length + imports.length + dependencies.length;
  if (shared === 0) return [styleText('dim', 'no name of it is exported by Node.js too')];
  const lines = [
    `exports too ${exports.length} of its exports and ${imports.length} of its imports`,
  ];
  if (dependencies.length > 0) {
    lines.push(`shares names with ${dependencies.length} dependencies: ${dependencies.join(', ')}`);
  }
  if (obstacle !== null)
    lines.push(`${styleText('yellow', 'comes before the dependencies')}: ${obstacle}`);
  return lines;
}

const effects = {
  'stays-mapped': styleText('yellow', 'stays mapped'),
  'may-crash': styleText('red', 'unmapping may crash'),
};

/** One line for each reason, and one for its cure. */
function verdictLines({ outcome, verdict, reasons }: UnloadVerdict): string[] {
  if (outcome === 'refused') return [styleText('red', verdict)];
  if (reasons.length === 0) return [styleText('green', verdict)];
  return reasons.flatMap(({ code, detail, effect, cure }) => [
    `${effects[effect]} because ${detail} ${styleText('dim', `(${code})`)}`,
    ...(cure === undefined ? [] : [styleText('dim', `  cure: ${cure}`)]),
  ]);
}

function symbolTables({ exports, imports }: SoInfo): string {
  const offered = exports.map((each) => [
    each.name,
    each.type,
    each.binding,
    each.version,
    `${each.size}`,
  ]);
  const asked = imports.map(({ name, version, weak }) => [name, version, weak ? 'weak' : '']);
  return `
${table(['export', 'type', 'binding', 'version', 'bytes'], offered)}
${table(['import', 'version', ''], asked)}`;
}
