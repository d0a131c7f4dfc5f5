import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { SoInfo } from 'soswap';
import t from 'tap';
import { buildIdOf, compileAction } from '../fixtures/build.js';
import { exitedCleanly, main, plainNode, runSoswap } from '../fixtures/child.js';

const directory = t.testdir();
const library = compileAction(join(directory, 'so1.so'), 1111);
const nodelete = compileAction(join(directory, 'nodelete.so'), 1111, '-Wl,-z,nodelete');
const soswap = (...args: string[]) => runSoswap(args, { cwd: directory });

t.test('inspect prints facts about a library, for people and as JSON', async (t) => {
  const text = await soswap('inspect', './so1.so');
  t.match(text, exitedCleanly);
  t.match(text.stdout, new RegExp(`build id +${buildIdOf(library)}\n`));
  t.match(text.stdout, /SoHandle +unmaps cleanly\n/);
  t.notMatch(text.stdout, '\x1b', 'no colours in a pipe');
  t.notMatch(text.stdout, /version +function/);

  t.match(await soswap('inspect', './so1.so', '--symbols'), {
    ...exitedCleanly,
    stdout: /\nversion +function +global +\d+\n[\s\S]+\nputs +GLIBC/,
  });

  const json = await soswap('inspect', './so1.so', '--json');
  t.match(json, exitedCleanly);
  const info: SoInfo = JSON.parse(json.stdout);
  t.match(info, { path: library, buildId: buildIdOf(library), unload: { outcome: 'clean' } });
  t.ok(info.exports.some(({ name }) => name === 'action'));
});

t.test('inspect says by its exit code that old images stay mapped', async (t) => {
  const stays = { code: 3, signal: null, stderr: '' };
  t.match(await soswap('inspect', nodelete), { ...stays, stdout: /\(nodelete\)\n +cure: \w/ });
  const json = await soswap('inspect', nodelete, '--json');
  t.match(json, stays);
  t.match(JSON.parse(json.stdout), { unload: { reasons: [{ code: 'nodelete' }] } });
});

t.test('a command whose output is closed early ends without an error', async (t) => {
  const [env, args] = plainNode([main]);
  const run = [env, ...args].join(' ');
  for (const command of [
    `inspect ./so1.so --symbols`,
    `inspect ./so1.so --json`,
    `run ./so1.so version --signature string --interval 0`,
  ]) {
    const script = `set -o pipefail; ${run} ${command} | head -n 1`;
    const ended = spawnSync('bash', ['-c', script], {
      cwd: directory,
      encoding: 'utf8',
      timeout: 30_000,
    });
    t.match(ended, { status: 0, signal: null, stderr: '' }, command);
    t.equal(ended.stdout.split('\n').length, 2);
  }
});

const noTerminal = spawnSync('script', ['--version']).error !== undefined && 'needs script(1)';

t.test('colour is for a terminal, and not with NO_COLOR', { skip: noTerminal }, async (t) => {
  // script(1) gives it a terminal. The rest of the environment stays out: Node.js reads CI, TMUX,
  // COLORTERM and more of it to tell what the terminal can do.
  const seen = (environment: Record<string, string>) =>
    spawnSync('script', ['-qec', `'${process.execPath}' '${main}' inspect ./so1.so`, '/dev/null'], {
      cwd: directory,
      env: { PATH: process.env.PATH, TERM: 'xterm', ...environment },
      encoding: 'utf8',
    }).stdout;
  t.match(seen({}), '\x1b[32munmaps cleanly');
  const plain = seen({ NO_COLOR: '1' });
  t.match(plain, /SoHandle +unmaps cleanly/);
  t.notMatch(plain, '\x1b[');
  const forced = await runSoswap(['inspect', './so1.so'], {
    cwd: directory,
    env: { FORCE_COLOR: '1' },
  });
  t.match(forced.stdout, '\x1b[32munmaps cleanly', 'and in a pipe with FORCE_COLOR');
});
