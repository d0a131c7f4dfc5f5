import type { SwapReport } from 'soswap';
import t from 'tap';
import { copyBuilds, ones, twoBuilds, twos } from '../../fixtures/build.js';
import { exitedCleanly, runProgram } from '../../fixtures/child.js';

const builds = twoBuilds(t.testdir());

const replace = `
  import { execFileSync } from 'node:child_process';
  const replace = () => execFileSync('mv', ['so2.so', 'so.so']);
`;

t.test('raw: a loop that opens before it closes stays with the old code', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${replace}
    import * as dl from 'soswap/dl';
    let handle = dl.dlopen('./so.so');
    const call = () => dl.functionAt(dl.dlsym(handle, 'action'), { return: 'int32' })();
    call();
    replace();
    for (let round = 0; round < 10; round++) {
      const next = dl.dlopen('./so.so');
      dl.dlclose(handle);
      handle = next;
      call();
    }
    // Only a moment without any handle lets go of it.
    dl.dlclose(handle);
    handle = dl.dlopen('./so.so');
    call();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones.repeat(11) + twos });
});

// With image: 'direct' such a swap is refused: test/direct-image.test.ts.
t.test('SoHandle: private copies can be swapped so, and beside other handles', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${replace}
    import { SoHandle } from 'soswap';
    const definitions = { action: { return: 'int32' } };
    const first = SoHandle.open('./so.so', definitions);
    const second = SoHandle.open('./so.so', definitions);
    first.functions.action();
    replace();
    process.send(first.swapSync({ order: 'open-first' }));
    first.functions.action();
    second.functions.action();
    process.send(await second.swap({ order: 'open-first' }));
    second.functions.action();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones + twos + ones + twos });
  t.equal(ended.messages.length, 2);
  for (const report of ended.messages as SwapReport[]) {
    t.match(report, { order: 'open-first', unmapped: true, retained: [] });
    t.not(report.previous.base, report.current.base, 'both were loaded for a moment');
  }
});
