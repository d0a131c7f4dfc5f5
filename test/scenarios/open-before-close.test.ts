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

const tryTo = `
  const tryTo = (attempt) => {
    try {
      attempt();
    } catch ({ code, message }) {
      process.send({ code, message });
    }
  };
`;
const definitions = `{ action: { return: 'int32' }, count: { return: 'int32' } }`;

t.test(
  'SoHandle, direct: a swap is refused while another handle has the library open',
  async (t) => {
    const cwd = t.testdir();
    copyBuilds(builds, cwd);
    const program = `${replace} ${tryTo}
    import { SoHandle } from 'soswap';
    const first = SoHandle.open('./so.so', ${definitions}, { image: 'direct' });
    const second = SoHandle.open('./so.so', ${definitions}, { image: 'direct' });
    first.functions.action();
    first.functions.count();
    replace();
    tryTo(() => first.swapSync());
    first.functions.action();
    second.functions.action();
    process.send([first.generation, first.functions.count()]);
    second.close();
    process.send(first.swapSync());
    first.functions.action();
    first.close();
  `;
    const ended = await runProgram(program, { cwd });
    t.match(ended, { ...exitedCleanly, stdout: ones + ones + ones + twos });
    const [refused, state, report] = ended.messages;
    t.match(refused, { code: 'ERR_SOSWAP_STILL_LOADED', message: /1 other handle/ });
    t.same(state, [1, 2], 'the generation, and what its image had counted');
    t.match(report as SwapReport, { generation: 2, unmapped: true });
  },
);

t.test('SoHandle, direct: the order open-first is refused', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${replace} ${tryTo}
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('./so.so', ${definitions}, { image: 'direct' });
    so.functions.count();
    replace();
    tryTo(() => so.swapSync({ order: 'open-first' }));
    so.functions.action();
    process.send([so.generation, so.functions.count()]);
    so.swapSync();
    so.functions.action();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones + twos });
  const [refused, state] = ended.messages;
  t.match(refused, { code: 'ERR_SOSWAP_STILL_LOADED', message: /open-first/ });
  t.same(state, [1, 2]);
});

t.test('SoHandle, direct: a swap never returns the image that a raw handle holds', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `${replace} ${tryTo}
    import { SoHandle } from 'soswap';
    import * as dl from 'soswap/dl';
    const so = SoHandle.open('./so.so', ${definitions}, { image: 'direct' });
    const raw = dl.dlopen(so.path);
    so.functions.action();
    so.functions.count();
    replace();
    tryTo(() => so.swapSync());
    so.functions.action();
    process.send([so.generation, so.functions.count()]);
    dl.dlclose(raw);
    process.send(so.swapSync());
    so.functions.action();
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, { ...exitedCleanly, stdout: ones + ones + twos });
  const [refused, state, report] = ended.messages;
  t.match(refused, { code: 'ERR_SOSWAP_STILL_LOADED' });
  t.same(state, [1, 2]);
  t.match(report as SwapReport, { generation: 2, unmapped: true });
});

t.test(
  'SoHandle: private copies can be swapped in this order, and beside other handles',
  async (t) => {
    const cwd = t.testdir();
    copyBuilds(builds, cwd);
    const program = `${replace}
    import { SoHandle } from 'soswap';
    const first = SoHandle.open('./so.so', ${definitions});
    const second = SoHandle.open('./so.so', ${definitions});
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
    for (const report of ended.messages as SwapReport[]) {
      t.match(report, { order: 'open-first', unmapped: true, retained: [] });
      t.not(report.previous.base, report.current.base, 'both were loaded for a moment');
    }
  },
);
