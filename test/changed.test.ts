import { copyFileSync, renameSync, rmSync } from 'node:fs';
import { SoHandle, swapChanged } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';

const builds = twoBuilds(t.testdir());
const definitions = { count: { return: 'int32' } } as const;

t.test('swap({ ifChanged: true }) swaps other bytes alone', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const events: unknown[] = [];
  so.on('swap', ({ generation }) => events.push(generation));
  so.on('refused', ({ code }) => events.push(code));
  so.functions.count();
  renameSync(one, path);
  t.equal(await so.swap({ ifChanged: true, quarantine: true }), null);
  t.same([so.functions.count(), events], [2, []]);
  copyFileSync(two, path);
  const reports = await Promise.all([so.swap({ ifChanged: true }), so.swap({ ifChanged: true })]);
  t.match(reports, [{ generation: 2 }, null]);
  t.equal((await so.swap({ ifChanged: false })).generation, 3);
  rmSync(path);
  await t.rejects(so.swap({ ifChanged: true }), { code: 'ERR_SOSWAP_NOT_FOUND' });
  t.same(events, [2, 3, 'ERR_SOSWAP_NOT_FOUND']);
  await t.rejects(so.swap({ ifChanged: 1 as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  so.close();
});

t.test('swapChanged() tells what became of each handle', async (t) => {
  const directories = t.testdir({ a: {}, b: {}, c: {} });
  const [a, b, c] = ['a', 'b', 'c'].map((name) => {
    const { so: path } = copyBuilds(builds, `${directories}/${name}`);
    return SoHandle.open(path, definitions, { swap: { order: 'open-first' } });
  }) as unknown as [SoHandle, SoHandle, SoHandle];
  copyFileSync(builds.two, a.path);
  rmSync(c.path);
  t.match(await swapChanged(), [
    { status: 'swapped', handle: a, report: { generation: 2, order: 'open-first' } },
    { status: 'current', handle: b },
    { status: 'refused', handle: c, error: { code: 'ERR_SOSWAP_NOT_FOUND', path: c.path } },
  ]);
  copyFileSync(builds.one, a.path);
  const signal = AbortSignal.abort(new Error('enough'));
  t.match(await swapChanged([a], { signal }), [
    { status: 'refused', error: { code: 'ERR_SOSWAP_ABORTED', cause: signal.reason } },
  ]);
  t.match(await swapChanged(new Set([a, b]), { order: 'close-first' }), [
    { status: 'swapped', report: { order: 'close-first' } },
    { status: 'current' },
  ]);
  t.match(await swapChanged([], {}), []);
  const wrong = (...args: unknown[]) => swapChanged(...(args as [never]));
  await t.rejects(wrong([], { odrer: 1 }), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(wrong([], { ifChanged: true }), { code: 'ERR_INVALID_ARG_VALUE' });
  using plain = SoHandle.open(b.path); // swaps close-first
  await t.rejects(wrong([a, plain], { loadOn: 'main' }), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(wrong([a, a]), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(wrong(a), { code: 'ERR_INVALID_ARG_TYPE' });
  for (const each of [a, b, c]) each.close();
  t.match(await swapChanged([a]), [{ status: 'refused', error: { code: 'ERR_SOSWAP_CLOSED' } }]);
  plain.close();
  t.same(await swapChanged(), []);
});
