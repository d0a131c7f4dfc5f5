import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Definitions, loaded, SoHandle, type SwapOrder, swapAll } from 'soswap';
import t, { type Test } from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { Gate } from '../fixtures/gate.js';
import { until } from '../fixtures/until.js';

// Several handles that are swapped as one.

const builds = twoBuilds(t.testdir(), 'gate.c');
const definitions = {
  count: { return: 'int32' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
  version: { return: 'string' },
} as const satisfies Definitions;
type Handle = SoHandle<typeof definitions>;
const orders: SwapOrder[] = ['close-first', 'open-first'];

/** Handles of build 1111, with 2222 at their paths, and what they emit. */
function openAll(t: Test, count = 3) {
  const events: string[] = [];
  const directory = t.testdir();
  const handles = Array.from({ length: count }, (_, index) => {
    const own = join(directory, `${index}`);
    mkdirSync(own);
    const { so: path, two } = copyBuilds(builds, own);
    const so = SoHandle.open(path, definitions);
    renameSync(two, path);
    so.on('swap', ({ generation }) => events.push(`${index}: ${generation}`));
    so.on('refused', ({ code, outcome }) => events.push(`${index}: ${code} ${outcome}`));
    t.teardown(() => so.close());
    return so;
  });
  return { handles, events };
}

const states = (handles: Handle[]) =>
  handles.map(({ functions, generation }) => [functions.version(), functions.count(), generation]);

for (const order of orders) {
  t.test(`${order}: all take effect`, async (t) => {
    const { handles, events } = openAll(t);
    const images = loaded().length;
    const reports = await swapAll(handles, { order });
    t.match(
      reports,
      handles.map(({ path }) => ({ path, order, generation: 2, unmapped: true })),
    );
    t.same(states(handles), Array(3).fill(['build 2222', 1, 2]));
    t.same(events, ['0: 2', '1: 2', '2: 2']);
    t.equal(loaded().length, images);
  });

  t.test(`${order}: one that is refused changes nothing anywhere`, async (t) => {
    const { handles, events } = openAll(t);
    const [first, second] = handles as [Handle, Handle];
    rmSync(second.path);
    const images = loaded().length;
    const error = { code: 'ERR_SOSWAP_NOT_FOUND', path: second.path, outcome: 'unchanged' };
    await t.rejects(swapAll(handles, { order }), error);
    t.same(states(handles), Array(3).fill(['build 1111', 1, 1]));
    t.same(
      events,
      [0, 1, 2].map((index) => `${index}: ERR_SOSWAP_NOT_FOUND unchanged`),
    );
    t.equal(loaded().length, images);

    second.close();
    await t.rejects(swapAll([first, second], { order }), { code: 'ERR_SOSWAP_CLOSED' });
    t.match(await swapAll([first], { order }), [{ generation: 2 }]);
    t.same(await swapAll([]), []);
  });

  t.test(`${order}: the loader refuses the last one`, async (t) => {
    const { handles, events } = openAll(t, 2);
    const directory = t.testdirName;
    const path = compile('below.c', `${directory}/so.so`, '-DNUMBER=1', '-Dbelow=above');
    const last = SoHandle.open(path, { above: { return: 'int32' } });
    last.on('refused', ({ code, outcome }) => events.push(`last: ${code} ${outcome}`));
    t.teardown(() => last.close());
    const below = compile('below.c', `${directory}/libbelow.so`, '-DNUMBER=10');
    compile('above.c', `${path}.new`, '-DNUMBER=2', below);
    renameSync(`${path}.new`, path);
    const [first, second] = handles as [Handle, Handle];
    const images = loaded().length;

    // The second swaps last, and takes away what the other was found to need.
    const verify = () => rmSync(below);
    const swap = swapAll([first, last, second], (handle) =>
      handle === second ? { order, verify } : { order },
    );
    if (order === 'open-first') {
      t.match(await swap, [{ generation: 2 }, { generation: 2 }, { generation: 2 }]);
      t.equal(last.functions.above(), 12);
      return;
    }
    const error = {
      code: 'ERR_SOSWAP_MISSING_DEPENDENCY',
      path,
      rolledBack: true,
      message: /libbelow/,
    };
    await t.rejects(swap, error);
    t.same(states(handles), Array(2).fill(['build 1111', 1, 1]));
    t.equal(last.functions.above(), 1);
    t.same(events, [
      '0: ERR_SOSWAP_MISSING_DEPENDENCY rolled-back',
      'last: ERR_SOSWAP_MISSING_DEPENDENCY rolled-back',
      '1: ERR_SOSWAP_MISSING_DEPENDENCY rolled-back',
    ]);
    t.equal(loaded().length, images);
  });

  t.test(`${order}: no call runs in one that is swapped while another is not`, async (t) => {
    const { handles } = openAll(t);
    const [first, , third] = handles;
    const gate = new Gate();
    const call = third?.functions.pass(gate.words);
    await gate.arrival();
    const swap = swapAll(handles, { order });
    const late = new Gate();
    const open = () => handles.map(({ functions }) => functions.version()).join();
    const seen = new Set([open()]);
    const watching = setInterval(() => {
      seen.add(open());
      gate.open();
    });
    const meanwhile = first?.functions.pass(late.words);
    late.open();
    const reports = await swap;
    clearInterval(watching);
    seen.add(open());
    t.same([...seen], ['build 1111,build 1111,build 1111', 'build 2222,build 2222,build 2222']);
    t.equal(await call, 1111);
    t.ok([1111, 2222].includes((await meanwhile) as number));
    t.match(reports, Array(3).fill({ generation: 2, unmapped: true }));
  });
}

t.test('two of them at once wait for each other, whatever their orders', async (t) => {
  const { handles, events } = openAll(t);
  const [one, two] = await Promise.all([swapAll(handles), swapAll([...handles].reverse())]);
  t.same(
    [one, two].map((reports) => reports.map(({ generation }) => generation)),
    [
      [2, 2, 2],
      [3, 3, 3],
    ],
  );
  t.equal(events.length, 6);
});

for (const order of orders) {
  t.test(`${order}: one that is closed while the others are prepared`, async (t) => {
    const { handles } = openAll(t);
    const [first, second, third] = handles as [Handle, Handle, Handle];
    const images = loaded().length;
    const verify = () => void first.close();
    await t.rejects(swapAll([first, second], { order, verify }), {
      code: 'ERR_SOSWAP_CLOSED',
      path: first.path,
    });
    t.same(states([second, third]), Array(2).fill(['build 1111', 1, 1]));
    await until('the candidates are gone', () => loaded().length === images - 1);
  });
}

t.test('wrong arguments', async (t) => {
  const { handles, events } = openAll(t, 1);
  const [so] = handles as [Handle];
  for (const wrong of [undefined, null, 1, {}, 'no', [so, 1], [{}], [null]] as unknown[]) {
    await t.rejects(swapAll(wrong as []), { code: 'ERR_INVALID_ARG_TYPE' }, `${wrong}`);
  }
  await t.rejects(swapAll([so, so]), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(swapAll([so], null as never), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.rejects(
    swapAll([so], () => ({ timeout: -1 })),
    { code: 'ERR_OUT_OF_RANGE' },
  );
  t.same(events, []);
});
