import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { root, runProgram } from '../fixtures/child.js';

const builds = twoBuilds(t.testdir());

/** What a program that swaps twice, and fails once, prints to the standard error. */
async function linesOf(t: typeof import('tap').t, NODE_DEBUG: string): Promise<string[]> {
  const { so: path } = copyBuilds(builds, t.testdir());
  const program = `
    import { writeFileSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const so = SoHandle.open(${JSON.stringify(path)});
    so.swapSync();
    await so.swap({ order: 'open-first', verify: () => true, quarantine: true });
    writeFileSync(so.path, '');
    await so.swap().catch(() => {});
    so.close();`;
  const { code, stderr } = await runProgram(program, { cwd: root, env: { NODE_DEBUG } });
  t.equal(code, 0);
  return stderr.split('\n').filter((line) => line.startsWith('SOSWAP'));
}

t.test('NODE_DEBUG=soswap prints one line for each step of a swap', async (t) => {
  const lines = await linesOf(t as never, 'soswap');
  const steps = lines.map((line) => {
    const found = /^SOSWAP \d+: .*so\.so: (.*): (\d+\.\d{3}) ms, (\d+\.\d{3}) ms in all$/.exec(
      line,
    );
    t.ok(found !== null && Number(found[3]) >= Number(found[2]), line);
    return found?.[1]?.split(',')[0];
  });
  t.same(steps, [
    'copied and inspected',
    'drained',
    'generation 2 committed',
    'the old image is gone',
    'copied and inspected',
    'quarantined',
    'verified',
    'opened beside',
    'drained',
    'generation 3 committed',
    'the old image is gone',
    'failed',
  ]);
});

t.test('without it nothing is printed', async (t) => {
  t.same(await linesOf(t as never, 'other'), []);
});
