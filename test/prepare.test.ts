import { copyFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type Definitions, loaded, SoHandle, type SwapOrder } from 'soswap';
import t, { type Test } from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { Gate, logOf } from '../fixtures/gate.js';

// A swap in two steps.

const directory = t.testdir();
const builds = twoBuilds(directory, 'gate.c');
const definitions = {
  count: { return: 'int32' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
  version: { return: 'string' },
} as const satisfies Definitions;
const orders: SwapOrder[] = ['close-first', 'open-first'];
const stale = { name: 'SoError', code: 'ERR_SOSWAP_STALE_PREPARATION', outcome: 'unchanged' };

/** A handle of build 1111, with 2222 at its path. */
function open(t: Test) {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  t.teardown(() => so.close());
  renameSync(two, path);
  return { so, one };
}

const old = ['build 1111', 1, 1];
const next = ['build 2222', 1, 2];
const state = ({ functions, generation }: SoHandle<typeof definitions>) => [
  functions.version(),
  functions.count(),
  generation,
];

for (const order of orders) {
  const isBeside = order === 'open-first';

  t.test(`${order}: nothing changes before the commit, which needs no file`, async (t) => {
    const { so } = open(t);
    const images = loaded().length;
    const begins = await logOf(`${so.path}.log`, async () => {
      writeFileSync(`${so.path}.log`, '');
      const prepared = await so.prepare({ order });
      const { generation, inode, base } = { base: undefined, ...prepared.candidate };
      t.same([generation, typeof inode, base, prepared.stale], [2, 'bigint', undefined, false]);
      t.match(JSON.parse(JSON.stringify(prepared)).candidate, { mtimeNs: /^\d+$/ });
      t.same([so.functions.version(), so.generation, so.status()], ['build 1111', 1, 'replaced']);
      t.equal(loaded().length, images + (isBeside ? 1 : 0));

      rmSync(so.path);
      const swaps: unknown[] = [];
      so.on('swap', (report) => swaps.push(report));
      const report = await prepared.commit();
      t.match(report, { generation: 2, order, unmapped: true, retained: [] });
      t.match(report.current, { ...prepared.candidate, toJSON: Function });
      t.same(swaps, [report]);
    });
    t.same(begins, isBeside ? ['begin 2222', 'end 1111'] : ['end 1111', 'begin 2222']);
    t.same(state(so), next);
    t.equal(loaded().length, images);
  });

  t.test(`${order}: what is discarded leaves nothing, and cannot be committed`, async (t) => {
    const { so } = open(t);
    const images = loaded().length;
    const prepared = await so.prepare({ order });
    prepared.discard();
    prepared.discard();
    t.same([prepared.stale, loaded().length], [true, images]);
    const refused: unknown[] = [];
    so.on('refused', (error) => refused.push(error));
    await t.rejects(prepared.commit(), { ...stale, path: so.path });
    t.match(refused, [stale]);
    t.same(state(so), old);
    {
      using again = await so.prepare({ order });
      t.equal(again.stale, false);
    }
    {
      await using again = await so.prepare({ order });
      t.equal(again.stale, false);
    }
    t.equal(loaded().length, images);
    await (await so.prepare({ order })).commit();
    t.same(state(so), next);
  });

  t.test(`${order}: a handle that moves on or closes gives it up`, async (t) => {
    const { so, one } = open(t);
    const images = loaded().length;
    for (const swap of [() => so.swap(), async () => so.swapSync()]) {
      const prepared = await so.prepare({ order });
      copyFileSync(one, `${so.path}.new`);
      renameSync(`${so.path}.new`, so.path);
      await swap();
      t.same([prepared.stale, loaded().length], [true, images]);
      await t.rejects(prepared.commit(), stale);
      t.equal(so.functions.version(), 'build 1111');
    }
    const prepared = await so.prepare({ order });
    so.close();
    t.same([prepared.stale, loaded().length], [true, images - 1]);
    await t.rejects(prepared.commit(), stale);
    await t.rejects(so.prepare({ order }), { code: 'ERR_SOSWAP_CLOSED' });
  });

  t.test(`${order}: a handle has one prepared swap at most, and commits it once`, async (t) => {
    const { so } = open(t);
    const prepared = await so.prepare({ order });
    await t.rejects(so.prepare({ order }), { code: 'ERR_SOSWAP_BUSY', message: /discard/ });
    const [first, second] = await Promise.allSettled([prepared.commit(), prepared.commit()]);
    t.match(first, { status: 'fulfilled', value: { generation: 2 } });
    t.match(second, { status: 'rejected', reason: stale });
    prepared.discard();
    t.same(state(so), next);
  });

  t.test(`${order}: a refused candidate is refused when it is prepared`, async (t) => {
    const { so } = open(t);
    const refused: unknown[] = [];
    so.on('refused', (error) => refused.push(error));
    const verify = () => false;
    await t.rejects(so.prepare({ order, verify }), { code: 'ERR_SOSWAP_VERIFY' });
    writeFileSync(`${so.path}.new`, 'no library');
    renameSync(`${so.path}.new`, so.path);
    await t.rejects(so.prepare({ order }), { code: 'ERR_SOSWAP_NOT_ELF' });
    t.match(refused, [{ code: 'ERR_SOSWAP_VERIFY' }, { code: 'ERR_SOSWAP_NOT_ELF' }]);
    await t.rejects(so.prepare({ order: 'other' as 'close-first' }), {
      code: 'ERR_INVALID_ARG_VALUE',
    });
    t.same(state(so), old);
  });
}

for (const order of orders) {
  t.test(`${order}: a handle that is closed while its swap is prepared`, async (t) => {
    const images = loaded().length;
    const { so } = open(t);
    const verify = () => void so.close();
    await t.rejects(so.prepare({ order, verify }), { code: 'ERR_SOSWAP_CLOSED' });
    t.equal(loaded().length, images);
  });
}

t.test(
  'a call that does not end makes the commit fail, and the next one can be prepared',
  async (t) => {
    const { so } = open(t);
    const prepared = await so.prepare({ timeout: 0 });
    const gate = new Gate();
    const call = so.functions.pass(gate.words);
    await gate.arrival();
    await t.rejects(prepared.commit(), { code: 'ERR_SOSWAP_BUSY' });
    await t.rejects(prepared.commit(), stale);
    gate.open();
    t.equal(await call, 1111);
    t.match(await (await so.prepare()).commit(), { generation: 2, unmapped: true });
  },
);
