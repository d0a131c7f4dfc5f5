import { execFileSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import { SoHandle } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { root, runProgram } from '../fixtures/child.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const throwing = `${directory}/throwing.so`;
writeFileSync(
  `${directory}/throwing.cc`,
  'static int thrown = [] { throw 1; return 0; }(); extern "C" int count() { return thrown; }',
);
execFileSync('g++', ['-shared', '-fPIC', `${directory}/throwing.cc`, '-o', throwing]);

t.test('an exception out of a constructor ends the process', async (t) => {
  const program = `
    import { SoHandle } from 'soswap';
    SoHandle.open(${JSON.stringify(throwing)});`;
  t.match(await runProgram(program, { cwd: root }), { code: null, signal: 'SIGABRT' });
});

t.test('quarantine refuses a library with such a constructor', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, { count: { return: 'int32' } });
  copyFileSync(throwing, path);
  const refused = { code: 'ERR_SOSWAP_QUARANTINE', message: /SIGABRT/, outcome: 'unchanged' };
  t.throws(() => so.swapSync({ quarantine: true }), refused);
  await t.rejects(so.swap({ quarantine: true, order: 'open-first' }), refused);
  t.equal(so.functions.count(), 1);
  so.close();
});
