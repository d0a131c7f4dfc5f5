import t from 'tap';
import { root, runNode } from '../fixtures/child.js';

const bench = (...args: string[]) =>
  runNode(['--import', './tools/typescript.js', 'bench/run.ts', ...args], { cwd: root });

t.test('the bench of swaps measures every way beside C, and judges soswap by it', async (t) => {
  const ended = await bench('swap', '--quick', '--only', 'tiny-1', '--json', '-');
  t.match(ended, { code: 0, signal: null });
  const { machine, cases, limits } = JSON.parse(ended.stdout);
  t.match(machine, { node: process.version });
  const time = { pause: { median: Number }, total: { median: Number } };
  t.match(cases, [
    {
      name: 'tiny-1',
      contenders: {
        C: time,
        'C in Node.js': time,
        swapSync: time,
        swap: time,
        'swap open-first': time,
        koffi: time,
        'ffi-rs': time,
      },
    },
  ]);
  for (const measured of Object.values<{ total: { low: number } }>(cases[0].contenders)) {
    t.ok(measured.total.low > 0, 'nothing takes no time');
  }
  t.same(
    limits.map(({ limit, unit }: { limit: number; unit: string }) => `${limit} ${unit}`),
    ['1.25 × C', '50 µs', '1.3 × C'],
  );
});

t.test('a bench refuses what it does not know', async (t) => {
  t.match(await bench('swap', '--quickly'), {
    code: 2,
    signal: null,
    stdout: '',
    stderr: /--quickly/,
  });
  t.match(await bench('nothing'), { code: 2, signal: null, stdout: '', stderr: /nothing/ });
});
