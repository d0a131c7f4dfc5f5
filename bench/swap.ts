import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { endure, startTimes, underLoad } from './swap/beside.js';
import { casesIn } from './swap/cases.js';
import { judge } from './swap/limits.js';
import { thisMachine } from './swap/machine.js';
import { type CaseResult, contenders, measure } from './swap/measure.js';
import { Programs } from './swap/processes.js';
import { publish } from './swap/publish.js';
import { everything, type Results } from './swap/tables.js';

const help = `usage: npm run bench -- swap [OPTIONS]

Swaps libraries of several sizes to and fro, with soswap, koffi, ffi-rs, node:ffi where this Node.js has it, and with
a C program that does dlclose, dlopen and dlsym on the same file, which is the limit. All of them in turns. Each
swap's effect is looked at: what leaves old code running ends the bench.

  --quick        a fifth of the rounds: half a minute, to see the direction
  --only NAME    only this, or what is about this library; may be given more than once. The names:
                 tiny-1 tiny-100 tiny-10000 tiny-handles-10 tiny-handles-100 tiny-handles-1000
                 libsqlite3-1 libsqlite3-100 libicudata-1 libLLVM-1 libLLVM-100 load endurance start
  --json FILE    writes the results there; - for standard output, without the tables
  --from FILE    measures nothing, and takes the results that --json has written
  --write        puts table and chart into docs/, and the results into bench/results/
  --help         this text

Columns: "pause" is the longest time that the main thread was held at a stretch, seen from outside: the longest turn
of the event loop. "total" is the time from the call to its end. "C in Node.js" is the C code of the limit, called
inside of a Node.js process: what it costs more than C is not for any package to save.

Exit code: 0, whatever is measured; 1 if something did not work, 2 for wrong options.`;

const root = fileURLToPath(new URL('..', import.meta.url));
const options = parseOptions();
if (options.help) {
  console.log(help);
} else {
  const results: Results =
    options.from === undefined ? await run() : JSON.parse(readFileSync(options.from, 'utf8'));
  const json = `${JSON.stringify(results, undefined, 2)}\n`;
  if (options.json === '-') process.stdout.write(json);
  else console.log(everything(results));
  if (options.json !== undefined && options.json !== '-') writeFileSync(options.json, json);
  if (options.write) await publish(results, root);
}

function parseOptions() {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
        json: { type: 'string' },
        from: { type: 'string' },
        write: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    return values;
  } catch (error) {
    console.error(`bench swap: ${(error as Error).message}\n\n${help}`);
    process.exit(2);
  }
}

function isWanted(...names: string[]): boolean {
  return options.only.length === 0 || names.some((name) => options.only.includes(name));
}

/** A directory that is gone when this process ends: also when it is told to by a signal, Ctrl-C say. */
function scratch(): string {
  mkdirSync(join(root, 'build'), { recursive: true });
  const path = mkdtempSync(join(root, 'build', 'bench-swap-'));
  process.once('exit', () => rmSync(path, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  }
  return path;
}

async function run(): Promise<Results> {
  const machine = thisMachine();
  const directory = scratch();
  const programs = new Programs(directory);
  const absent = (name: string) => tell(`${name} is not installed, and is left out`);
  const all = casesIn(directory, absent);
  const wanted = all.filter(({ name, library }) => isWanted(name, library));
  const rounds = options.quick ? 3 : 15;
  const cases: CaseResult[] = [];
  for (const [index, each] of wanted.entries()) {
    tell(`${index + 1} of ${wanted.length}: ${each.name}, ${contenders.length} ways`);
    cases.push(await measure(each, programs, directory, rounds));
  }
  const libraryOf = (name: string) => all.find((it) => it.name === name)?.setup().library;
  const [tiny, sqlite] = [libraryOf('tiny-1')!, libraryOf('libsqlite3-1')];
  const beside: Pick<Results, 'underLoad' | 'endurance' | 'start'> = {};
  if (isWanted('load') && sqlite !== undefined) {
    tell('the event loop under load');
    const delays = await underLoad(sqlite, programs, directory, options.quick ? 500 : 3000);
    Object.assign(beside, { underLoad: delays });
  }
  if (isWanted('endurance')) {
    const swaps = options.quick ? 2000 : 100_000;
    tell(`${swaps} swaps on end, two ways`);
    Object.assign(beside, { endurance: await endure(tiny, programs, directory, swaps) });
  }
  if (isWanted('start')) {
    tell('the start');
    Object.assign(beside, { start: startTimes(tiny, root, options.quick ? 3 : 15) });
  }
  return { machine, cases, limits: judge(cases), ...beside };
}

/** Progress; standard output is for results. */
function tell(text: string): void {
  console.error(`… ${text}`);
}
