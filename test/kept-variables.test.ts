import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { inspect, loaded, SoHandle, type SwapOrder } from 'soswap';
import t, { type Test } from 'tap';
import { compile } from '../fixtures/build.js';

// Variables that SOSWAP_KEEP of native/include/soswap.h carries over.

const directory = t.testdir();
const build = (name: string, version: number, ...flags: string[]) =>
  compile('kept.c', join(directory, `${name}.so`), '-DLINE=1', `-DVERSION=${version}`, ...flags);
build('one', 1);
build('same', 1, '-DOTHER');
build('two', 2);
compile('action.c', join(directory, 'plain.so'), '-DLINE=3');
const orders: SwapOrder[] = ['close-first', 'open-first'];
const definitions = {
  add: { arguments: ['int32'], return: 'int32', optional: true },
  entry: { return: 'float64', optional: true },
  sum_of_others: { return: 'int32', optional: true },
  point_into_image: { optional: true },
  point_elsewhere: { arguments: ['pointer'], optional: true },
  pointed: { return: 'pointer', optional: true },
} as const;
const all = ['changed', 'counter', 'grown', 'pointer', 'shrunk', 'table', 'vanished'];

function open(t: Test) {
  const path = join(t.testdir(), 'so.so');
  const deploy = (name: string) => {
    copyFileSync(join(directory, `${name}.so`), `${path}.new`);
    renameSync(`${path}.new`, path);
  };
  deploy('one');
  const so = SoHandle.open(path, definitions);
  t.teardown(() => so.close());
  t.equal(so.functions.add?.(5), 15);
  return { so, path, deploy };
}

for (const order of orders) {
  t.test(`${order}: what is the same is carried over`, async (t) => {
    const { so, deploy } = open(t);
    t.match(so.swapSync({ order }), { kept: all, reset: [], unmapped: true });
    t.same([so.functions.add?.(0), so.functions.entry?.()], [15, 2.5]);
    t.equal(so.functions.sum_of_others?.(), 18);
    deploy('same');
    t.match(await so.swap({ order }), { kept: all, reset: [] });
    t.match(await so.rollback({ order }), { kept: all, reset: [] });
    t.equal(so.functions.add?.(1), 16);
  });

  t.test(`${order}: what grew, shrank, vanished or changed begins anew`, async (t) => {
    const { so, deploy } = open(t);
    deploy('two');
    const kept = ['counter', 'pointer', 'table'];
    t.match(await so.swap({ order }), { kept, reset: ['changed', 'grown', 'shrunk', 'vanished'] });
    t.same([so.functions.add?.(0), so.functions.entry?.()], [15, 2.5]);
    t.equal(so.functions.sum_of_others?.(), 3);
    t.match(await so.rollback({ order }), { kept, reset: ['added', 'changed', 'grown', 'shrunk'] });
    deploy('plain');
    t.match(await so.swap({ order }), { kept: [], reset: [] }, 'a library that keeps nothing');
    deploy('one');
    t.match(await so.swap({ order }), { kept: [], reset: [] });
    t.equal(so.functions.add?.(0), 10);
  });

  t.test(`${order}: a value that points into the image`, async (t) => {
    const { so, deploy } = open(t);
    deploy('same');
    so.functions.point_into_image?.();
    const refused = {
      code: 'ERR_SOSWAP_KEPT_VARIABLE',
      outcome: 'unchanged',
      message: /variable pointer points into the image/,
    };
    await t.rejects(so.swap({ order }), refused);
    t.throws(() => so.swapSync({ order }), refused);
    t.equal(so.functions.add?.(1), 16);
    const memory = Buffer.alloc(8);
    so.functions.point_elsewhere?.(memory);
    const address = so.functions.pointed?.();
    await so.swap({ order });
    t.equal(so.functions.pointed?.(), address, 'memory of others is none of ours');
  });

  t.test(`${order}: a candidate that keeps what is no variable`, async (t) => {
    for (const [flag, message] of [
      ['CONSTANT', /it keeps constant, which is no variable/],
      ['ELSEWHERE', /it keeps elsewhere, which is no variable/],
      ['PROTECTED', /it keeps protected_one, which is no variable/],
      ['NO_RECORD', /soswap_keep_number is not what SOSWAP_KEEP/],
    ] as const) {
      const { so, deploy } = open(t);
      const images = loaded().length;
      build(flag, 1, `-D${flag}`, '-Wl,-z,relro,-z,now');
      deploy(flag);
      const refused = { code: 'ERR_SOSWAP_KEPT_VARIABLE', message };
      await t.rejects(so.swap({ order }), refused, flag);
      t.equal(so.functions.add?.(1), 16);
      t.equal(loaded().length, images);
      t.throws(() => SoHandle.open(join(directory, `${flag}.so`)), refused);
    }
  });
}

t.test('what is told of kept variables', (t) => {
  const { so, path } = open(t);
  t.match(inspect(path), { hooks: [], keeps: all });
  t.match(
    loaded().find((each) => each.path === path),
    { hooks: [], keeps: all },
  );
  t.equal(so.exportState(), null);
  t.end();
});
