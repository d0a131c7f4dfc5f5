import { inspect, type SoInfo, type UnloadVerdict } from '../facts/inspect.js';
import { pad } from '../internal/table.js';
import type { SoDependency } from '../native/types.js';
import { readArguments } from './arguments.js';
import { toJson } from './json.js';
import { bold, dim, green, red, yellow } from './paint.js';
import { table } from './table.js';

const usage = `usage: soswap inspect LIB [--json] [--symbols]

Tells what the file of a library says, and whether an old image of it can be unmapped after a swap. Nothing is
loaded, and no code of it runs. LIB is a path, or a bare name like libz.so.1 that is looked up as dlopen(3) does.

      --json      everything as one JSON object, with all symbols; 64-bit integers are strings
      --symbols   lists every export and import
  -h, --help      prints this

exit codes: 0 old images are unmapped; 3 they stay mapped, or unmapping could crash: the verdict tells why and what
            helps, and new code takes effect all the same; 1 not a library that can be loaded; 2 wrong usage

example: soswap inspect ./libprice.so
`;

export async function run(args: string[]): Promise<void> {
  const given = readArguments(args, usage, ['LIB'], {
    json: { type: 'boolean' },
    symbols: { type: 'boolean' },
  });
  if (given === undefined) return;
  const info = inspect(given.operands[0] ?? '');
  process.stdout.write(given.values.json ? toJson(info, 2) : describe(info));
  if (given.values.symbols && !given.values.json) process.stdout.write(symbols(info));
  if (info.unload.outcome !== 'clean') process.exitCode = 3;
}

function describe(info: SoInfo): string {
  const { machine, soname, buildId, size, memorySize, runpath, rpath, flags } = info;
  const fields: [name: string, lines: readonly string[]][] = [
    ['machine', [machine]],
    ['soname', [soname ?? dim('none')]],
    ['build id', [buildId ?? dim('none')]],
    ['size', [`${number(size)} bytes, ${number(memorySize)} in memory`]],
    ['runpath', list([runpath, rpath].filter((each) => each !== null))],
    ['flags', list([flags.join(', ')].filter(Boolean))],
    ['needs', list(info.dependencies.map(dependency))],
    ['exports', [exportsLine(info)]],
    ['imports', [importsLine(info)]],
    ['SoHandle', verdict(info.unload)],
    ['dlclose(3)', verdict(info.plain)],
  ];
  const lines = fields.flatMap(([name, [first = '', ...further]]) => [
    `${pad(dim(name), 12)}${first}`,
    ...further.map((line) => ' '.repeat(12) + line),
  ]);
  return `${bold(info.path)}\n${lines.map((line) => `  ${line}\n`).join('')}`;
}

const list = (lines: readonly string[]) => (lines.length > 0 ? lines : [dim('none')]);
const number = (value: number) => value.toLocaleString('en');

function dependency({ name, path, loaded, lookedIn = [], defect }: SoDependency): string {
  if (path === null) {
    const where = lookedIn.length > 0 ? `; looked in ${lookedIn.join(', ')}` : '';
    return `${name} ${red('is not found')}${where}`;
  }
  const wrong = defect === undefined ? '' : ` ${red(defect)}`;
  return `${name} ${dim('=>')} ${path}${loaded ? dim(' (loaded already)') : ''}${wrong}`;
}

function exportsLine({ exports }: SoInfo): string {
  const functions = exports.filter(({ type }) => type === 'function').length;
  return `${exports.length}, ${functions} of them functions`;
}

/** What libraries use to have their code run later, when it may be gone. */
const hooks =
  /^(pthread_create|thrd_create|pthread_key_create|tss_create|pthread_atfork|__register_atfork|__cxa_thread_atexit(_impl)?|atexit|on_exit|signal|sigaction|timer_create|dlopen)$/;

function importsLine({ imports }: SoInfo): string {
  const used = imports.map(({ name }) => name).filter((name) => hooks.test(name));
  return `${imports.length}${used.length > 0 ? `, among them ${used.join(', ')}` : ''}`;
}

const effects = {
  'stays-mapped': yellow('stays mapped'),
  'may-crash': red('unmapping may crash'),
};

/** A line for each reason, and for what helps against it. */
function verdict({ verdict, reasons }: UnloadVerdict): string[] {
  if (reasons.length === 0) return [green(verdict)];
  return reasons.flatMap(({ code, detail, effect, cure }) => [
    `${effects[effect]} because ${detail} ${dim(`(${code})`)}`,
    ...(cure === undefined ? [] : [dim(`  cure: ${cure}`)]),
  ]);
}

function symbols({ exports, imports }: SoInfo): string {
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
