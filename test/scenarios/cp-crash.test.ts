import { statSync } from 'node:fs';
import type { SwapReport } from 'soswap';
import t from 'tap';
import { buildIdOf, copyBuilds, ones, twoBuilds, twos } from '../../fixtures/build.js';
import { crashSignals, exitedCleanly, runProgram } from '../../fixtures/child.js';

const builds = twoBuilds(t.testdir());

const copied = { 'the other build': 'so2.so', 'the same bytes': 'so1.so' };

// What a raw program may do next after the file was overwritten.
const steps = {
  'calls the function that it has': 'action();',
  'loads again and calls': 'load();',
  'closes the library': 'dl.dlclose(handle);',
  'only exits': '',
};

for (const [what, source] of Object.entries(copied)) {
  for (const [step, code] of Object.entries(steps)) {
    t.test(`raw: cp of ${what}, and the process that ${step} is killed`, async (t) => {
      const cwd = t.testdir();
      copyBuilds(builds, cwd);
      const program = `
        import { execFileSync } from 'node:child_process';
        import * as dl from 'soswap/dl';
        const handle = dl.dlopen('./so.so');
        const action = dl.functionAt(dl.dlsym(handle, 'action'), { return: 'int32' });
        const load = () => {
          const again = dl.dlopen('./so.so');
          dl.functionAt(dl.dlsym(again, 'action'), { return: 'int32' })();
        };
        action();
        load();
        execFileSync('cp', ['${source}', 'so.so']);
        ${code}
      `;
      const ended = await runProgram(program, { cwd });
      t.match(ended, { code: null, stdout: ones + ones });
      t.ok(crashSignals.includes(ended.signal), `killed by ${ended.signal}`);
    });
  }
}

// Counts the calls of one image, so that a swap and the lack of one can be told apart with equal bytes.
const open = `
  import { execFileSync } from 'node:child_process';
  import { SoHandle } from 'soswap';
  const so = SoHandle.open('./so.so', { action: { return: 'int32' }, count: { return: 'int32' } });
  const { action, count } = so.functions;
  const cp = (from) => execFileSync('cp', [from, 'so.so']);
  const call = () => process.send([action(), count()]);
  call();
`;

t.test('SoHandle: after cp of the other build, old code until swap(), then new', async (t) => {
  const cwd = t.testdir();
  const { one, two, so } = copyBuilds(builds, cwd);
  const { ino } = statSync(so, { bigint: true });
  const program = `${open}
    cp('so2.so');
    call();
    process.send(so.status());
    process.send(await so.swap());
    call();
    so.close();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones + ones + twos });
  const [before, after, status, report, swapped] = ended.messages;
  t.same(
    [before, after, swapped],
    [
      [1111, 1],
      [1111, 2],
      [2222, 1],
    ],
  );
  t.equal(status, 'overwritten');
  t.match(report as SwapReport, {
    generation: 2,
    order: 'close-first',
    unmapped: true,
    retained: [],
    previous: { generation: 1, inode: ino, buildId: buildIdOf(one) },
    current: { generation: 2, inode: ino, buildId: buildIdOf(two) },
  });
});

t.test('SoHandle: after cp of the same bytes, old state until swap(), then new', async (t) => {
  const cwd = t.testdir();
  const { one } = copyBuilds(builds, cwd);
  const program = `${open}
    cp('so1.so');
    call();
    process.send(await so.swap());
    call();
    so.close();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones + ones + ones });
  const [before, after, report, swapped] = ended.messages;
  t.same(
    [before, after, swapped],
    [
      [1111, 1],
      [1111, 2],
      [1111, 1],
    ],
  );
  const { previous, current } = report as SwapReport;
  t.same([previous.buildId, current.buildId], [buildIdOf(one), buildIdOf(one)]);
  t.equal(current.inode, previous.inode);
});

for (const [what, source] of Object.entries(copied)) {
  t.test(`SoHandle: a process that never swaps outlives cp of ${what}`, async (t) => {
    const cwd = t.testdir();
    copyBuilds(builds, cwd);
    const ended = await runProgram(`${open} cp('${source}'); call();`, { cwd });
    t.match(ended, { ...exitedCleanly, stdout: ones + ones });
    t.same(ended.messages, [
      [1111, 1],
      [1111, 2],
    ]);
  });

  t.test(`SoHandle: close() after cp of ${what} is clean`, async (t) => {
    const cwd = t.testdir();
    copyBuilds(builds, cwd);
    const ended = await runProgram(`${open} cp('${source}'); so.close();`, { cwd });
    t.match(ended, { ...exitedCleanly, stdout: ones });
  });
}
