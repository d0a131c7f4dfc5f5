import { execFileSync } from 'node:child_process';
import type { SwapReport } from 'soswap';
import t from 'tap';
import { buildIdOf, copyBuilds, ones, twoBuilds, twos } from '../../fixtures/build.js';
import { crashSignals, exitedCleanly, runProgram } from '../../fixtures/child.js';

const builds = twoBuilds(t.testdir());

interface Replacement {
  readonly name: string;
  /** What makes the file a library, in a directory that holds so1.so, so2.so and so.so. */
  readonly setup?: string;
  readonly path?: string;
  readonly command: string;
  readonly raw: 'is killed' | 'never runs the new code';
  readonly status: 'replaced' | 'overwritten';
  /** What action() returns after the swap, where it is not refused. */
  readonly after: 1111 | 2222;
  readonly sameInode: boolean;
}

const replacements: Replacement[] = [
  {
    name: 'atomic rename',
    command: 'mv so2.so so.so',
    raw: 'never runs the new code',
    status: 'replaced',
    after: 2222,
    sameInode: false,
  },
  {
    name: 'flip of a symlink to the file',
    setup: 'ln -sf so1.so so.so',
    command: 'ln -sfn so2.so so.so',
    raw: 'never runs the new code',
    status: 'replaced',
    after: 2222,
    sameInode: false,
  },
  {
    name: 'flip of a symlink to the directory',
    setup: 'mkdir v1 v2; cp so1.so v1/so.so; cp so2.so v2/so.so; ln -s v1 current',
    path: './current/so.so',
    command: 'ln -sfn v2 current',
    raw: 'never runs the new code',
    status: 'replaced',
    after: 2222,
    sameInode: false,
  },
  {
    name: 'install(1)',
    command: 'install so2.so so.so',
    raw: 'never runs the new code',
    status: 'replaced',
    after: 2222,
    sameInode: false,
  },
  {
    name: 'strip in place',
    command: 'strip so.so',
    raw: 'is killed',
    status: 'overwritten',
    after: 1111,
    sameInode: true,
  },
];

const sh = `
  import { execFileSync } from 'node:child_process';
  const sh = (command) => execFileSync('sh', ['-c', command]);
`;

const rawLoop = (path: string, command: string) => `${sh}
  import * as dl from 'soswap/dl';
  const load = () => {
    const handle = dl.dlopen('${path}');
    dl.functionAt(dl.dlsym(handle, 'action'), { return: 'int32' })();
  };
  load();
  sh('${command}');
  for (let round = 0; round < 5; round++) load();
`;

const open = (path: string) => `${sh}
  import { openSync } from 'node:fs';
  import { SoHandle } from 'soswap';
  openSync('${path}'); // so that its inode number stays taken
  const so = SoHandle.open('${path}', { action: { return: 'int32' }, count: { return: 'int32' } });
  const { action, count } = so.functions;
  action();
  count();
`;

for (const replacement of replacements) {
  const { name, setup = '', path = './so.so', command, status, after, sameInode } = replacement;

  t.test(`raw: after ${name}, a loop that opens again ${replacement.raw}`, async (t) => {
    const cwd = t.testdir();
    copyBuilds(builds, cwd);
    execFileSync('sh', ['-c', setup], { cwd });
    const ended = await runProgram(rawLoop(path, command), { cwd });
    if (replacement.raw === 'is killed') {
      t.match(ended, { code: null, stdout: ones });
      t.ok(crashSignals.includes(ended.signal), `killed by ${ended.signal}`);
    } else {
      t.match(ended, { ...exitedCleanly, stdout: ones.repeat(6) });
    }
  });

  t.test(`SoHandle: after ${name}, the old code until swap(), then what is there`, async (t) => {
    const cwd = t.testdir();
    copyBuilds(builds, cwd);
    execFileSync('sh', ['-c', setup], { cwd });
    const program = `${open(path)}
      sh('${command}');
      action();
      process.send(count());
      process.send(so.status());
      process.send(await so.swap());
      action();
      process.send(count());
      process.send(so.status());
    `;
    const ended = await runProgram(program, { cwd });
    t.match(ended, { ...exitedCleanly, stdout: ones + ones + (after === 2222 ? twos : ones) });
    const [old, became, report, fresh, now] = ended.messages;
    t.same([old, became, fresh, now], [2, status, 1, 'current']);
    // strip(1) leaves the build id alone.
    const next = buildIdOf(after === 2222 ? builds.two : builds.one);
    const { previous, current, unmapped } = report as SwapReport;
    t.equal(unmapped, true);
    t.same([previous.buildId, current.buildId], [buildIdOf(builds.one), next]);
    t.equal(previous.inode === current.inode, sameInode, 'inode');
  });
}

t.test('raw: truncation to 0 bytes, and the process that calls is killed', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const ended = await runProgram(rawLoop('./so.so', 'truncate -s 0 so.so'), { cwd });
  t.match(ended, { code: null, stdout: ones });
  t.ok(crashSignals.includes(ended.signal), `killed by ${ended.signal}`);
});

t.test('SoHandle: truncation to 0 bytes changes nothing, and its swap is refused', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${open('./so.so')}
    sh('truncate -s 0 so.so');
    action();
    process.send(so.status());
    await so.swap().catch(({ code }) => process.send(code));
    action();
    process.send(count());
    sh('cp so2.so so.so');
    process.send(await so.swap());
    action();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones + ones + ones + twos });
  const [status, code, counted, report] = ended.messages;
  t.same([status, code, counted], ['overwritten', 'ERR_SOSWAP_TRUNCATED', 2]);
  t.match(report as SwapReport, {
    generation: 2,
    unmapped: true,
    current: { buildId: buildIdOf(builds.two) },
  });
});

t.test('SoHandle: a process whose library was truncated to 0 bytes exits cleanly', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const ended = await runProgram(`${open('./so.so')} sh('truncate -s 0 so.so');`, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones });
});
