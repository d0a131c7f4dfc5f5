import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { SoHandle, type SwapOrder } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';

// What an image takes and does not give back.

const directory = t.testdir();
const library = compile('account.c', join(directory, 'account.so'), '-DLINE=1', '-fno-builtin');
const objects = compile('account-objects.cc', join(directory, 'objects.so'), '-fno-builtin', '-O0');
const nothing = { allocations: 0, bytes: 0, descriptors: 0, mappings: 0, mappedBytes: 0 };
const orders: SwapOrder[] = ['close-first', 'open-first'];
const definitions = {
  take: { arguments: ['uint64'], return: 'pointer' },
  give: { arguments: ['pointer'] },
  take_all_memory: { return: 'int32' },
  take_all_descriptors: { arguments: ['string'], return: 'int32' },
  open_one: { return: 'int32' },
  take_mappings: { return: 'int32' },
  keep_until_end: {},
} as const;

for (const order of orders) {
  t.test(`${order}: memory, descriptors and mappings`, async (t) => {
    using so = SoHandle.open(library, definitions, { account: true });
    const { take, give, take_all_memory, take_all_descriptors, take_mappings } = so.functions;
    const left = async () => (await so.swap({ order })).leftBehind;
    t.same(await left(), nothing);
    so.functions.keep_until_end();
    t.same(await left(), nothing, 'a destructor gives back');
    t.equal(take_all_memory(), 9);
    t.same(await left(), { ...nothing, allocations: 9, bytes: 90 });
    t.equal(take_all_descriptors(directory), 11);
    t.same(await left(), { ...nothing, descriptors: 11, allocations: 0 });
    t.equal(take_mappings(), 2);
    t.same(await left(), { ...nothing, mappings: 2, mappedBytes: 6 * 4096 });
    const memory = take(77);
    t.same((await so.swap({ order })).leftBehind, { ...nothing, allocations: 1, bytes: 77 });
    give(memory);
    t.same(so.swapSync({ order }).leftBehind, nothing, 'the next image has given it back');
  });
}

t.test('a descriptor that somebody else closed', (t) => {
  using so = SoHandle.open(library, definitions, { account: true });
  closeSync(so.functions.open_one());
  so.functions.open_one();
  t.same(so.swapSync().leftBehind, { ...nothing, descriptors: 1 });
  t.end();
});

t.test('operator new and delete', (t) => {
  using so = SoHandle.open(
    objects,
    { take_objects: { return: 'int32' }, throws_for_lack: { return: 'int32' } },
    { account: true },
  );
  t.equal(so.functions.take_objects(), 4);
  t.equal(so.functions.throws_for_lack(), 0, 'its exception passes through');
  t.match(so.swapSync().leftBehind, { allocations: 4, bytes: 4 + 3 + 4 + 64 });
  t.end();
});

t.test('two handles, and one that does not count', (t) => {
  using one = SoHandle.open(library, definitions, { account: true });
  using two = SoHandle.open(library, definitions, { account: true });
  using plain = SoHandle.open(library, definitions);
  one.functions.take(1);
  two.functions.take(20);
  plain.functions.take(300);
  t.match(one.swapSync().leftBehind, { allocations: 1, bytes: 1 });
  t.match(two.swapSync().leftBehind, { allocations: 1, bytes: 20 });
  t.equal(plain.swapSync().leftBehind, null);
  t.end();
});

t.test('an image that stays mapped is asked while it is there', (t) => {
  using so = SoHandle.open(library, definitions, { account: true, unload: 'never' });
  so.functions.take(5);
  const { unmapped, leftBehind } = so.swapSync();
  t.equal(unmapped, false);
  t.match(leftBehind, { allocations: 1, bytes: 5 });
  t.equal(so.status(), 'current', 'the bytes of the copy are compared');
  t.end();
});

t.test('wrong options', (t) => {
  t.throws(() => SoHandle.open(library, {}, { account: 1 } as never), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
  t.throws(() => SoHandle.open(library, {}, { account: true, image: 'direct' }), {
    code: 'ERR_INVALID_ARG_VALUE',
  });
  t.end();
});
