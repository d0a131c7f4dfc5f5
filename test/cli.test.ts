import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { exitedCleanly, runNode } from '../fixtures/child.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const soswap = (...args: string[]) => runNode(['dist/cli/main.js', ...args], { cwd: root });

t.test('--help lists the commands', async (t) => {
  for (const option of ['--help', '-h']) {
    t.match(await soswap(option), {
      ...exitedCleanly,
      stdout: /^usage: soswap [\s\S]+\n {2}demo /,
    });
  }
});

t.test('--version tells the version of the package', async (t) => {
  const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));
  for (const option of ['--version', '-v']) {
    t.match(await soswap(option), { ...exitedCleanly, stdout: `${version}\n` });
  }
});

t.test('a command tells its usage', async (t) => {
  t.match(await soswap('demo', '--help'), { ...exitedCleanly, stdout: /^usage: soswap demo/ });
});

t.test('no command at all is a mistake, and gets the usage', async (t) => {
  t.match(await soswap(), { code: 2, signal: null, stdout: '', stderr: /^usage: soswap/ });
});

t.test('a mistake is told in one line', async (t) => {
  const mistakes: [args: string[], line: RegExp][] = [
    [['frobnicate'], /^soswap: there is no command 'frobnicate'.*\n$/],
    [['toString'], /^soswap: there is no command 'toString'.*\n$/],
    [['--frobnicate'], /^soswap: there is no command '--frobnicate'.*\n$/],
    [['demo', '--frobnicate'], /^soswap: .*--frobnicate.*\n$/],
    [['demo', 'frobnicate'], /^soswap: .*frobnicate.*\n$/],
  ];
  for (const [args, line] of mistakes) {
    t.match(await soswap(...args), { code: 2, signal: null, stdout: '', stderr: line });
  }
});
