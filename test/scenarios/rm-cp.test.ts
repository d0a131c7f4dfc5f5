import type { SwapReport } from 'soswap';
import t from 'tap';
import { buildIdOf, copyBuilds, ones, twoBuilds, twos } from '../../fixtures/build.js';
import { exitedCleanly, runProgram } from '../../fixtures/child.js';

const builds = twoBuilds(t.testdir());

// The old file stays open, so that the file system cannot give its inode number to the new one.
const replace = `
  import { execFileSync } from 'node:child_process';
  import { openSync, statSync } from 'node:fs';
  const inode = () => statSync('so.so', { bigint: true }).ino;
  const replace = () => {
    openSync('so.so');
    execFileSync('rm', ['so.so']);
    execFileSync('cp', ['so2.so', 'so.so']);
  };
`;

t.test('raw: a loop that opens again and never closes stays with the old code', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${replace}
    import * as dl from 'soswap/dl';
    const load = () => {
      const handle = dl.dlopen('./so.so');
      dl.functionAt(dl.dlsym(handle, 'action'), { return: 'int32' })();
    };
    load();
    const before = inode();
    replace();
    process.send(inode() !== before);
    for (let round = 0; round < 10; round++) load();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones.repeat(11) });
  t.same(ended.messages, [true], 'it is another file');
});

t.test('SoHandle: the old code until swap(), then the new', async (t) => {
  const cwd = t.testdir();
  const { one, two } = copyBuilds(builds, cwd);
  const program = `${replace}
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('./so.so', { action: { return: 'int32' } });
    const { action } = so.functions;
    action();
    const before = inode();
    replace();
    process.send([before, inode()]);
    action();
    process.send(so.status());
    process.send(await so.swap());
    action();
    action();
    so.close();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones + ones + twos + twos });
  const [inodes, status, report] = ended.messages;
  const [before, after] = inodes as bigint[];
  t.not(before, after);
  t.equal(status, 'replaced');
  t.match(report as SwapReport, {
    generation: 2,
    unmapped: true,
    previous: { inode: before, buildId: buildIdOf(one) },
    current: { inode: after, buildId: buildIdOf(two) },
  });
});

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
