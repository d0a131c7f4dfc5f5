import type { SwapReport } from 'soswap';
import t from 'tap';
import { buildIdOf, copyBuilds, ones, twoBuilds, twos } from '../../fixtures/build.js';
import { exitedCleanly, runProgram } from '../../fixtures/child.js';

const builds = twoBuilds(t.testdir());

const replace = `
  import { execFileSync } from 'node:child_process';
  import { statSync } from 'node:fs';
  const inode = () => statSync('so.so', { bigint: true }).ino;
  const replace = () => {
    execFileSync('rm', ['so.so']);
    execFileSync('cp', ['so2.so', 'so.so']);
  };
`;

t.test('raw: a loop that closes before it opens again runs the new file', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${replace}
    import * as dl from 'soswap/dl';
    const round = () => {
      const handle = dl.dlopen('./so.so');
      dl.functionAt(dl.dlsym(handle, 'action'), { return: 'int32' })();
      dl.dlclose(handle);
    };
    round();
    round();
    replace();
    round();
    round();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones + ones + twos + twos });
});

t.test(
  'SoHandle, direct: a swap runs the new file, and reports inode and build id of both',
  async (t) => {
    const cwd = t.testdir();
    const { one, two, so } = copyBuilds(builds, cwd);
    const program = `${replace}
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('./so.so', { action: { return: 'int32' } }, { image: 'direct' });
    const { action } = so.functions;
    action();
    const before = inode();
    replace();
    process.send([before, inode()]);
    action();
    process.send(so.swapSync());
    action();
    action();
    so.close();
  `;
    const ended = await runProgram(program, { cwd });
    t.match(ended, { ...exitedCleanly, stdout: ones + ones + twos + twos });
    const [inodes, report] = ended.messages;
    const [before, after] = inodes as bigint[];
    // The old file was mapped when the new one was made, so its inode number was taken.
    t.not(before, after);
    t.match(report as SwapReport, {
      order: 'close-first',
      unmapped: true,
      retained: [],
      previous: { generation: 1, inode: before, buildId: buildIdOf(one), mappedFrom: so },
      current: { generation: 2, inode: after, buildId: buildIdOf(two), mappedFrom: so },
    });
  },
);
