// docs/observing.md says what debuggers and profilers show of a library that soswap runs. Here they are asked.
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { plainNode, root } from '../fixtures/child.js';

const program = fileURLToPath(new URL('../fixtures/observed.js', import.meta.url));
// Out of the checkout: a core file is large, and perf(1) keeps its cache there.
const directory = mkdtempSync(join(tmpdir(), 'soswap-observing-'));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));
const library = compile('observed.c', join(directory, 'libobserved.so'), '-g', '-Wl,--build-id');

/** Standard output and error of a command that may fail. */
async function outputOf(command: string, ...args: readonly string[]): Promise<string> {
  const env: NodeJS.ProcessEnv = { ...process.env, HOME: directory, DEBUGINFOD_URLS: '' };
  delete env.NODE_OPTIONS; // tap's
  const options = { cwd: root, env, maxBuffer: 2 ** 26, timeout: 60_000 };
  const { stdout, stderr } = await promisify(execFile)(command, args, options).catch((e) => e);
  return `${stdout}${stderr}`;
}

/** Why these tests cannot run a tool here; `false` if they can. */
function unable(command: string, ...trial: string[]): string | false {
  try {
    execFileSync(command, trial, { stdio: 'ignore', timeout: 60_000 });
    return false;
  } catch {
    return `needs ${command}(1), and leave to use it`;
  }
}

const noGdb = unable('gdb', '-batch', '-return-child-result', '-ex', 'run', '--args', 'true');
const noPerf = unable('perf', 'record', '--buildid-mmap', '-o', join(directory, 'trial'), 'true');

t.test('backtrace_symbols(3) names the functions', async (t) => {
  const [command, args] = plainNode([program, library, 'print_stack']);
  t.match(await outputOf(command, ...args), /\(print_stack\+0x[0-9a-f]+\)/);
});

t.test('process.report lists the private copy under its name for the loader', async (t) => {
  const [command, args] = plainNode([program, library, 'report']);
  const output = await outputOf(command, ...args);
  t.match(output, /^\/proc\/\d+\/fd\/[./]+\d+$/m);
  t.notMatch(output, library);
});

t.test('gdb(1) names functions and lines in a process that lives', { skip: noGdb }, async (t) => {
  const stackWith = (mapping: string) =>
    outputOf(
      'gdb',
      ...['-batch', '-ex', 'run', '-ex', 'bt 8'],
      ...['--args', process.execPath, program, library, 'end', mapping],
    );
  t.match(await stackWith('debug-info'), /in observed_end \(\) at .*observed\.c:\d+/);
  t.notMatch(await stackWith('snapshot'), 'observed_end', 'they are not in the copy');
});

t.test('gdb(1) names them in a core file when it is told the base', { skip: noGdb }, async (t) => {
  const core = join(directory, 'core');
  const output = await outputOf(
    'gdb',
    ...['-batch', '-ex', 'run', '-ex', `generate-core-file ${core}`],
    ...['--args', process.execPath, program, library, 'end'],
  );
  const base = /^base (0x[0-9a-f]+)$/m.exec(output)?.[1];
  const alone = await outputOf('gdb', '-batch', '-ex', 'bt 8', process.execPath, core);
  t.notMatch(alone, 'observed_end', 'the private copy ended with its process');
  const told = await outputOf(
    'gdb',
    ...['-batch', '-ex', `add-symbol-file ${library} -o ${base}`, '-ex', 'bt 8'],
    ...[process.execPath, core],
  );
  t.match(told, /in observed_end \(\) at .*observed\.c:\d+/);
});

t.test('perf(1) finds the symbols by the build id', { skip: noPerf }, async (t) => {
  const data = join(directory, 'perf.data');
  const report = () =>
    outputOf('perf', 'report', '-i', data, '--stdio', '--no-children', '--sort', 'dso,symbol');
  await outputOf(
    'perf',
    ...['record', '--buildid-mmap', '-e', 'cpu-clock', '-o', data],
    ...[process.execPath, program, library, 'work'],
  );
  const before = await report();
  t.match(before, 'libobserved.so (deleted)');
  t.notMatch(before, 'observed_work');
  await outputOf('perf', 'buildid-cache', '--add', library);
  t.match(await report(), 'observed_work');
});

t.test('AddressSanitizer names functions and lines', async (t) => {
  const sanitized = join(directory, 'libsanitized.so');
  compile('observed.c', sanitized, '-g', '-fsanitize=address');
  const runtime = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
  const [command, args] = plainNode([program, sanitized, 'observed_overrun']);
  const output = await outputOf(
    'env',
    ...[`LD_PRELOAD=${runtime}`, 'ASAN_OPTIONS=detect_leaks=0', command, ...args, 'debug-info'],
  );
  t.match(output, /heap-buffer-overflow/);
  t.match(output, /in observed_overrun .*observed\.c:\d+/);
});
