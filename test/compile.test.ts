import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { SoHandle } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { root } from '../fixtures/child.js';

const run = (args: string[], env = {}) => {
  const options = { cwd: root, encoding: 'utf8', env: { ...process.env, ...env } } as const;
  const { status, stdout, stderr } = spawnSync('fixtures/compile', args, options);
  return { status, stdout, stderr };
};

t.test('fixtures/compile: C and C++ become libraries, and flags go to the compiler', async (t) => {
  const directory = t.testdir({
    'answer.c': 'int answer(void) { return ANSWER; }\n',
    'answer.cc': 'extern "C" int answer() { return ANSWER; }\n',
  });
  for (const source of ['answer.c', 'answer.cc']) {
    const library = compile(`${directory}/${source}`, `${directory}/${source}.so`, '-DANSWER=42');
    const so = SoHandle.open(library, { answer: { return: 'int32' } });
    t.equal(so.functions.answer(), 42);
    so.close();
  }
});

t.test('fixtures/compile: --help shows its usage', async (t) => {
  t.match(run(['--help']), { status: 0, stdout: /^usage: fixtures\/compile/, stderr: '' });
});

t.test('fixtures/compile: a mistake is named', async (t) => {
  const directory = t.testdir();
  writeFileSync(`${directory}/poem.txt`, '');
  const output = `${directory}/out.so`;
  t.match(run([]), { status: 2, stderr: /^usage:/ });
  t.match(run(['absent.c', output]), { status: 1, stderr: /no source file 'absent\.c'/ });
  t.match(run([`${directory}/poem.txt`, output]), { status: 1, stderr: /no compiler is known/ });
});

t.test('fixtures/compile: without the compiler, it says how to get it', async (t) => {
  const output = `${t.testdir()}/out.so`;
  t.match(run(['fixtures/action.c', output], { CC: 'absent-cc -g' }), {
    status: 1,
    stderr:
      "fixtures/compile: there is no 'absent-cc' on this machine; on Debian: apt-get install gcc\n",
  });
});
