import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runSoswap } from '../fixtures/child.js';

const cwd = t.testdir();
twoBuilds(cwd);
const soswap = (...args: string[]) => runSoswap(args, { cwd });
const commands = ['demo', 'run', 'inspect', 'install', 'watch', 'loaded', 'signatures', 'build'];

t.test('--help lists the commands', async (t) => {
  const help = await soswap('--help');
  t.match(help, { ...exitedCleanly, stdout: /^usage: soswap / });
  for (const command of commands) t.match(help.stdout, new RegExp(`\n {2}${command} +\\w`));
  t.same(await soswap('-h'), help);
  t.same(await soswap('run', '-h'), await soswap('run', '--help'));
});

for (const command of commands) {
  t.test(`${command} --help shows its usage`, async (t) => {
    const help = await soswap(command, '--help');
    t.match(help, { ...exitedCleanly, stdout: new RegExp(`^usage: soswap ${command}\\b`) });
    if (command !== 'demo') t.match(help.stdout, /\nexit codes: [\s\S]+\nexample: soswap /);
    const lines = help.stdout.split('\n');
    t.ok(
      lines.every((line) => line.length <= 120),
      'no line is wider than 120 columns',
    );
  });
}

t.test('--version prints the version of the package', async (t) => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const option of ['--version', '-v']) {
    t.match(await soswap(option), { ...exitedCleanly, stdout: `${version}\n` });
  }
});

t.test('no command at all is a mistake, and gets the usage', async (t) => {
  t.match(await soswap(), { code: 2, signal: null, stdout: '', stderr: /^usage: soswap/ });
});

t.test('a mistake is reported in one line that names it, with exit code 2', async (t) => {
  const mistakes: [args: string[], named: RegExp][] = [
    [['frobnicate'], /'frobnicate'/],
    [['toString'], /'toString'/],
    [['--frobnicate'], /'--frobnicate'/],
    [['demo', '--frobnicate'], /--frobnicate/],
    [['demo', 'frobnicate'], /frobnicate/],
    [['inspect'], /LIB/],
    [['inspect', ''], /path/],
    [['inspect', './so.so', 'more'], /more/],
    [['install', './so1.so'], /DEST/],
    [['install', './so1.so', './so.so', './so2.so'], /\.\/so2\.so/],
    [['watch'], /LIB/],
    [['watch', './so.so', '--settle', 'soon'], /--settle.*soon/],
    [['watch', './so.so', '--exec'], /--exec/],
    [['loaded'], /--pid/],
    [['loaded', '--pid', 'x'], /--pid/],
    [['run', './so.so'], /SYMBOL/],
    [['run', './so.so', 'action', '--interval', '-1'], /--interval/],
    [['run', './so.so', 'action', '--interval=-1'], /--interval/],
    [['run', './so.so', 'action', '--count', '1.5'], /--count/],
  ];
  for (const [args, named] of mistakes) {
    const ended = await soswap(...args);
    t.match(ended, { code: 2, signal: null, stdout: '', stderr: named }, args.join(' '));
    t.match(ended.stderr, /^soswap: .+\n$/, 'one line');
  }
});
