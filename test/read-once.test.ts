import { copyFileSync } from 'node:fs';
import { type Definitions, SoHandle } from 'soswap';
import * as dl from 'soswap/dl';
import t, { type Test } from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';

const builds = twoBuilds(t.testdir());
const definitions = { version: { return: 'string' } } as const satisfies Definitions;
const closed = { name: 'SoError', code: 'ERR_SOSWAP_CLOSED' };
// biome-ignore lint/suspicious/noExplicitAny: values that TypeScript refuses
const loosely = (call: unknown) => call as (...values: any[]) => any;

function openOne(t: Test) {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  t.teardown(() => so.close());
  copyFileSync(two, path);
  return so;
}

/** An object whose properties count how often they are read, those of nested objects too. */
function counting<const T extends object>(object: T, reads: Map<string, number>, path = ''): T {
  return new Proxy(object, {
    get(target, key, self) {
      const value: unknown = Reflect.get(target, key, self);
      if (typeof key === 'symbol' || !Object.hasOwn(target, key)) return value;
      const name = `${path}${key}`;
      reads.set(name, (reads.get(name) ?? 0) + 1);
      const isPlain =
        typeof value === 'object' && value !== null && !(value instanceof AbortSignal);
      return isPlain ? counting(value, reads, `${name}.`) : value;
    },
  });
}

t.test('definitions and options are read once', async (t) => {
  const { one } = builds;
  const reads = new Map<string, number>();
  const given = {
    version: { return: 'string', arguments: [], nonblocking: false, errno: false, optional: true },
  } as const;
  const options = {
    scope: 'local',
    binding: 'now',
    image: 'auto',
    symbolic: true,
    unload: 'auto',
    uniqueSymbols: 'global',
    debugInfo: false,
    noexec: 'refuse',
    maxRetained: { images: 9, bytes: 2 ** 30 },
  } as const;
  const so = SoHandle.open(one, counting(given, reads), counting(options, reads, 'open.'));
  so.getFunction('count', counting({ return: 'int32', arguments: [] }, reads, 'getFunction.'));
  const swap = { order: 'open-first', timeout: 9, verify: () => true, unload: 'auto' } as const;
  const { signal } = new AbortController();
  so.swapSync(counting({ order: 'open-first', unload: 'auto' }, reads, 'swapSync.'));
  await so.swap(counting({ ...swap, signal, loadOn: 'thread' }, reads, 'swap.'));
  so.watch(counting({ settle: 1, persistent: false, swap }, reads, 'watch.')).close();
  t.same(
    [...reads].filter(([name, count]) => count !== 1 && !name.endsWith('.length')),
    [],
  );
  t.equal(reads.get('version.return'), 1);
  t.equal(reads.get('open.maxRetained.bytes'), 1);
  t.equal(reads.get('watch.swap.unload'), 1);
  so.close();
});

t.test('a getter of a definition may close the handle, or swap', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  copyFileSync(two, path);
  const version = so.getFunction('version', {
    get return() {
      so.swapSync();
      return 'string' as const;
    },
  });
  t.same([so.generation, version()], [2, 'build 2222']);
  const closing = {
    get return() {
      so.close();
      return 'int32' as const;
    },
  };
  t.throws(() => so.getFunction('count', closing), closed);
  t.throws(
    () =>
      so.watch({
        get settle() {
          so.close();
          return 1;
        },
      }),
    closed,
  );
});

t.test('verify() gets the functions of the definitions as they were', async (t) => {
  const given: Record<string, { return: 'string' | 'int32' }> = { version: { return: 'string' } };
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, given);
  (given.version as { return: string }).return = 'int32';
  given.absent = { return: 'int32' };
  const verify = (functions: object) => {
    t.same(Object.keys(functions), ['version']);
    t.equal(loosely((functions as typeof so.functions).version)(), 'build 1111');
  };
  t.equal((await so.swap({ verify })).generation, 2);
  so.close();
});

const kinds: [string, unknown][] = [
  ['an array', []],
  ['a Map', new Map()],
  ['a Buffer', Buffer.alloc(0)],
  ['a Promise', Promise.resolve()],
  ['a Date', new Date()],
  ['a URL', new URL('file:///')],
  ['a function', () => {}],
  ['a text', ''],
  ['null', null],
];
t.test('definitions and a definition are objects with properties', async (t) => {
  const so = openOne(t);
  const address = so.getSymbol('version');
  const wrong = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
  for (const [what, value] of kinds) {
    t.throws(() => loosely(SoHandle.open)(so.path, value), wrong, what);
    t.throws(() => loosely(SoHandle.open)(so.path, { version: value }), wrong, what);
    t.throws(() => loosely(so.getFunction.bind(so))('version', value), wrong, what);
    t.throws(() => loosely(dl.functionAt)(address, value), wrong, what);
  }
});

t.test('functionAt() takes an address that there can be', async (t) => {
  for (const address of [0n, -1n, 2n ** 64n]) {
    t.throws(() => dl.functionAt(address, {}), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
    });
  }
  for (const address of [1, '1', undefined, null, {}]) {
    t.throws(() => loosely(dl.functionAt)(address, {}), { code: 'ERR_INVALID_ARG_TYPE' });
  }
});
