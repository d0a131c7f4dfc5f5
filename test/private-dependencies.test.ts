import { once } from 'node:events';
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type SoHandle as Handle, inspect, loaded, SoGroup, SoHandle, swapAll } from 'soswap';
import { dlclose, dlopen } from 'soswap/dl';
import t from 'tap';
import { compile } from '../fixtures/build.js';

// app/plugin/app.so needs libmid.so beside it and libleaf.so below it; libmid.so needs libleaf.so too.
const store = t.testdir();
const soname = (name: string) => `-Wl,-soname,${name}`;
const runpath = '-Wl,-rpath,$ORIGIN/../lib:$ORIGIN/deps';
const layer = (output: string, name: string, ...more: string[]) =>
  compile('layer.c', join(store, output), `-DNAME=${name}`, ...more);
for (const number of [1, 2]) {
  const version = `-DNUMBER=${number}`;
  const leaf = layer(`libleaf.so.${number}`, 'leaf', version, soname('libleaf.so'));
  layer(`libleaf.crashes.${number}`, 'leaf', version, soname('libleaf.so'), '-DCRASHES');
  const onLeaf = ['-Wl,--no-as-needed', leaf, '-Wl,-rpath,$ORIGIN/../plugin/deps'];
  const mid = layer(
    `libmid.so.${number}`,
    'mid',
    version,
    soname('libmid.so'),
    '-DFIRST=leaf',
    ...onLeaf,
  );
  const both = ['-Wl,--no-as-needed', mid, leaf, runpath];
  layer(`app.so.${number}`, 'app', version, '-DFIRST=mid', '-DSECOND=leaf', ...both);
  layer(
    `alone.so.${number}`,
    'app',
    version,
    '-DFIRST=mid',
    mid,
    runpath,
    '-Wl,--allow-shlib-undefined',
  );
  layer(`none.so.${number}`, 'app', version);
}
const places = { app: 'plugin/app.so', mid: 'lib/libmid.so', leaf: 'plugin/deps/libleaf.so' };
type Part = keyof typeof places;

/** A deployment of the three libraries in a directory. */
class Deployment {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    for (const each of ['plugin/deps', 'lib'])
      mkdirSync(join(directory, each), { recursive: true });
    this.deploy(1, 'app', 'mid', 'leaf');
  }

  path(part: Part): string {
    return join(this.#directory, places[part]);
  }

  deploy(version: 1 | 2, ...parts: Part[]): void {
    for (const part of parts) this.replace(part, `${places[part].split('/').at(-1)}.${version}`);
  }

  replace(part: Part, build: string): void {
    const next = join(this.#directory, 'next');
    copyFileSync(join(store, build), next);
    renameSync(next, this.path(part));
  }
}

const functions = { app: { return: 'int32' }, app_count: { return: 'int32' } } as const;
const dependencies = 'private';
/** app + 10 (mid + 10 leaf + leaf) */
const value = (app: number, mid: number, leaf: number) => app + 10 * (mid + 10 * leaf + leaf);
const paths = () => loaded().map(({ path }) => path.split('/').at(-1));
const maps = () => readFileSync('/proc/self/maps', 'utf8').split('\n');

for (const order of ['close-first', 'open-first'] as const) {
  t.test(`${order}: what was replaced takes effect as one`, async (t) => {
    const files = new Deployment(t.testdir());
    const so = SoHandle.open(files.path('app'), functions, { dependencies });
    const { app } = so.functions;
    t.equal(app(), value(1, 1, 1));
    t.same(paths().sort(), ['app.so', 'libleaf.so', 'libmid.so']);
    const mapped = maps().filter((line) => line.endsWith(files.path('leaf')));
    t.ok(
      mapped.every((line) => line.includes('/memfd:')),
      'the file itself is not mapped',
    );
    t.equal(so.status(), 'current');
    t.equal(await so.swap({ order, ifChanged: true }), null);

    files.deploy(2, 'leaf');
    t.equal(so.status(), 'replaced');
    t.equal(await so.statusAsync(), 'replaced');
    const report = await so.swap({ order, ifChanged: true });
    t.match(report, { unmapped: true, retained: [], generation: 2, path: so.path });
    t.equal(app(), value(1, 1, 2));
    t.equal(so.status(), 'current');

    files.deploy(2, 'app', 'mid');
    t.match(await so.swap({ order }), { unmapped: true, generation: 3 });
    t.equal(app(), value(2, 2, 2));
    files.deploy(1, 'app', 'mid', 'leaf');
    t.match(so.swapSync({ order }), { unmapped: true, generation: 4 });
    t.equal(app(), value(1, 1, 1));

    // One more and two fewer.
    files.replace('app', 'none.so.2');
    t.match(await so.swap({ order }), { unmapped: true });
    t.equal(app(), 2);
    t.same(paths(), ['app.so'], 'what is not needed any more is gone');
    files.deploy(2, 'app');
    t.match(await so.swap({ order }), { unmapped: true });
    t.equal(app(), value(2, 1, 1));
    t.match(so.close(), { unmapped: true });
    t.same(paths(), []);
  });

  t.test(`${order}: one that is refused changes nothing`, async (t) => {
    const files = new Deployment(t.testdir());
    using so = SoHandle.open(files.path('app'), functions, { dependencies });
    const { app, app_count } = so.functions;
    app_count();
    files.deploy(2, 'app', 'mid');
    files.replace('leaf', 'libleaf.crashes.2');
    const crash = { code: 'ERR_SOSWAP_QUARANTINE', path: files.path('leaf'), outcome: 'unchanged' };
    await t.rejects(so.swap({ order, quarantine: true }), crash);
    t.equal(app(), value(1, 1, 1));
    t.equal(app_count(), 2, 'its state is the old one');

    files.replace('leaf', 'none.so.2'); // lacks leaf()
    await t.rejects(so.swap({ order }), { code: 'ERR_SOSWAP_UNDEFINED_SYMBOL' });
    rmSync(files.path('leaf'));
    await t.rejects(so.swap({ order }), { code: 'ERR_SOSWAP_MISSING_DEPENDENCY' });
    t.equal(app_count(), 3);
    t.equal(so.generation, 1);
    t.equal(paths().length, 3);
    files.deploy(2, 'leaf');
    t.match(await so.swap({ order, quarantine: true, verify: (f) => f.app() === value(2, 2, 2) }), {
      unmapped: true,
    });
    t.equal(app(), value(2, 2, 2));
  });
}

t.test('each handle has its own, whatever the process has loaded by that name', async (t) => {
  const files = new Deployment(t.testdir());
  const shared = dlopen(files.path('leaf'), 2);
  t.teardown(() => dlclose(shared));
  files.deploy(2, 'leaf');
  using one = SoHandle.open(files.path('app'), functions, { dependencies });
  t.equal(one.functions.app(), value(1, 1, 2), 'not what the loader has by the name');
  files.deploy(1, 'leaf');
  using two = await SoHandle.openAsync(files.path('app'), functions, { dependencies });
  t.equal(two.functions.app(), value(1, 1, 1));
  t.equal(one.functions.app(), value(1, 1, 2));
  files.deploy(2, 'mid');
  const reports = await swapAll([one, two]);
  t.same(
    reports.map(({ path, unmapped }) => ({ path, unmapped })),
    [one, two].map(({ path }) => ({ path, unmapped: true })),
  );
  t.same([one.functions.app(), two.functions.app()], [value(1, 2, 1), value(1, 2, 1)]);
});

t.test(
  'a dependency that is overwritten in place changes nothing before the next swap',
  async (t) => {
    const files = new Deployment(t.testdir());
    using so = SoHandle.open(files.path('app'), functions, { dependencies });
    copyFileSync(join(store, 'libleaf.so.2'), files.path('leaf'));
    t.equal(so.functions.app(), value(1, 1, 1));
    t.equal(so.status(), 'replaced');
    await so.swap();
    t.equal(so.functions.app(), value(1, 1, 2));
    rmSync(files.path('leaf'));
    t.equal(so.status(), 'missing');
  },
);

t.test('a watch sees each of the files', async (t) => {
  const files = new Deployment(t.testdir());
  using so = SoHandle.open(files.path('app'), functions, { dependencies });
  so.watch({ settle: 5, persistent: true });
  for (const part of ['leaf', 'mid', 'app'] as const) {
    const swapped = once(so, 'swap');
    files.deploy(2, part);
    await swapped;
  }
  t.equal(so.functions.app(), value(2, 2, 2));
  t.equal(so.generation, 4);
});

t.test('a prepared swap holds all of them, and one is over with the other', async (t) => {
  const files = new Deployment(t.testdir());
  using so = SoHandle.open(files.path('app'), functions, { dependencies });
  files.deploy(2, 'app', 'mid', 'leaf');
  const discarded = await so.prepare({ order: 'open-first' });
  discarded.discard();
  t.equal(paths().length, 3);
  const prepared = await so.prepare({ order: 'open-first' });
  t.equal(so.functions.app(), value(1, 1, 1));
  t.match(await prepared.commit(), { generation: 2, unmapped: true });
  t.equal(so.functions.app(), value(2, 2, 2));
  const stale = await so.prepare();
  await so.swap();
  await t.rejects(stale.commit(), { code: 'ERR_SOSWAP_STALE_PREPARATION' });
});

t.test('what a search outside the deployment finds is shared', (t) => {
  const files = new Deployment(t.testdir());
  using so = SoHandle.open(files.path('app'), functions, { dependencies });
  const names = inspect(files.path('app')).dependencies.map(({ name }) => name);
  t.ok(names.includes('libc.so.6'));
  t.equal(so.functions.app(), value(1, 1, 1));
  t.notOk(paths().includes('libc.so.6'));
  t.end();
});

t.test('wrong options', (t) => {
  const files = new Deployment(t.testdir());
  const open = (options: object): Handle => SoHandle.open(files.path('app'), {}, options);
  const wrong = { code: 'ERR_INVALID_ARG_VALUE' };
  t.throws(() => open({ dependencies: 'own' }), wrong);
  t.throws(() => open({ dependencies, image: 'direct' }), wrong);
  using group = new SoGroup();
  t.throws(() => group.open(files.path('app'), {}, { dependencies }), wrong);
  t.throws(() => new SoGroup({ dependencies } as object), wrong);
  t.same(paths(), []);
  t.end();
});
