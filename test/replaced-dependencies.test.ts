import { once } from 'node:events';
import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { inspect, loaded, type SoError, SoHandle, swapAll } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { soon } from '../fixtures/until.js';

// Libraries whose dependencies are replaced: files, and images of other handles.

const code = 'ERR_SOSWAP_REPLACED_DEPENDENCY';
const refused = { name: 'SoError', code, outcome: 'unchanged' } as const;
const above = { above: { return: 'int32' } } as const;
const below = { below: { return: 'int32' } } as const;

// Two versions of libbelow.so, and of libraries that need it.
const store = t.testdir();
const builds = (number: 1 | 2) => {
  const soname = '-Wl,-soname,libbelow.so';
  const dependency = compile('below.c', `${store}/below${number}`, `-DNUMBER=${number}0`, soname);
  // One that soswap tracks: its image waits, with its handle, until nothing needs it.
  const flags = [`-DNUMBER=${number}0`, soname, '-DUSES_THREADS'];
  compile('below.c', `${store}/tracked${number}`, ...flags);
  const origin = '-Wl,-rpath,$ORIGIN';
  compile('above.c', `${store}/above${number}`, `-DNUMBER=${number}`, dependency, origin);
};
builds(1);
builds(2);

/** A directory with `libbelow.so` and libraries that need it, deployed anew by `deploy()`. */
class Deployment {
  constructor(
    readonly directory: string,
    readonly dependency = 'below',
  ) {
    this.deploy(1, 'libbelow.so', 'a.so', 'b.so');
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  deploy(number: 1 | 2, ...names: string[]): void {
    for (const name of names) {
      const source = name === 'libbelow.so' ? this.dependency : 'above';
      copyFileSync(`${store}/${source}${number}`, this.path('new'));
      renameSync(this.path('new'), this.path(name));
    }
  }
}

for (const dependency of ['below', 'tracked']) {
  t.test(`${dependency}: a handle whose dependency another handle has swapped`, async (t) => {
    const files = new Deployment(t.testdir(), dependency);
    using core = SoHandle.open(files.path('libbelow.so'), below);
    using a = SoHandle.open(files.path('a.so'), above);
    files.deploy(2, 'libbelow.so');
    t.equal(
      a.status(),
      'current',
      'a swap would not take the file: the other handle holds the old image',
    );
    t.throws(() => a.swapSync(), {
      ...refused,
      path: a.path,
      message: new RegExp(
        `image 1 of the handle of '${core.path}'.*replaced since; swap that handle`,
      ),
    });

    const { unmapped, retained } = core.swapSync();
    t.match([unmapped, retained], [false, [{ code: 'needed-by' }]]);
    t.match(retained[0]?.detail, new RegExp(`: ${a.path}$`));
    t.match(
      loaded().filter(({ path }) => path === core.path),
      [
        { state: 'retained', neededBy: [a.path], retained },
        { state: 'live', generation: 2 },
      ],
    );
    t.same([core.functions.below(), a.functions.above()], [20, 11], 'it is on the old image');
    t.same([a.status(), await a.statusAsync()], ['replaced', 'replaced'], 'and says so');

    const givenUp = { ...refused, message: new RegExp(`'${core.path}'.*given up; .*swapAll`) };
    t.throws(() => a.swapSync({ order: 'open-first' }), givenUp);
    await t.rejects(a.swap({ verify: () => true }), givenUp);
    t.ok(a.swapSync().unmapped);
    t.same([a.functions.above(), a.status()], [21, 'current']);
    t.equal(loaded().length, 2, 'the old image has gone with it');
  });
}

t.test('two handles need the old image of a third: swapped together', async (t) => {
  const files = new Deployment(t.testdir());
  using core = SoHandle.open(files.path('libbelow.so'), below);
  using a = SoHandle.open(files.path('a.so'), above);
  using b = SoHandle.open(files.path('b.so'), above);
  files.deploy(2, 'libbelow.so');
  core.swapSync();
  const message = new RegExp(`given up, and which ${b.path} needs too`);
  t.throws(() => a.swapSync(), { ...refused, message });
  t.same([a.status(), b.status()], ['replaced', 'replaced']);
  await t.rejects(swapAll([a, b], { order: 'open-first' }), refused);
  await swapAll([a, b]);
  t.same([a.functions.above(), b.functions.above()], [21, 21]);
  t.same([a.status(), b.status(), loaded().length], ['current', 'current', 3]);

  files.deploy(1, 'libbelow.so', 'a.so', 'b.so');
  await swapAll([core, a, b]);
  t.same([core.functions.below(), a.functions.above(), b.functions.above()], [10, 11, 11]);
});

t.test('a library is not opened on an image that another handle should have swapped', (t) => {
  const files = new Deployment(t.testdir());
  using core = SoHandle.open(files.path('libbelow.so'), below);
  files.deploy(2, 'libbelow.so');
  t.throws(() => SoHandle.open(files.path('a.so'), above), refused);
  t.match(inspect(files.path('a.so')).refusal, { code });
  core.swapSync();
  using a = SoHandle.open(files.path('a.so'), above);
  t.equal(a.functions.above(), 21);
  t.equal(inspect(a.path).dependencies[0]?.path, core.path, 'not its private copy');
  t.end();
});

t.test('the same bytes again, written in place, make no image stale', (t) => {
  const files = new Deployment(t.testdir());
  using _core = SoHandle.open(files.path('libbelow.so'), below);
  using a = SoHandle.open(files.path('a.so'), above);
  copyFileSync(`${store}/below1`, files.path('libbelow.so'));
  t.equal(a.swapSync().generation, 2);
  t.end();
});

t.test('status(): a dependency was replaced', (t) => {
  const files = new Deployment(t.testdir());
  using a = SoHandle.open(files.path('a.so'), above);
  files.deploy(2, 'libbelow.so');
  t.equal(a.status(), 'replaced');
  a.swapSync();
  t.same([a.functions.above(), a.status()], [21, 'current']);
  {
    using b = SoHandle.open(files.path('b.so'), above);
    files.deploy(1, 'libbelow.so');
    t.same([a.status(), b.status()], ['current', 'current'], 'no swap would take it');
    t.throws(() => a.swapSync(), refused);
  }
  t.equal(a.status(), 'replaced');
  t.end();
});

t.test('watch(): a dependency was replaced, by its file or by its own handle', async (t) => {
  const files = new Deployment(t.testdir());
  using a = SoHandle.open(files.path('a.so'), above);
  a.watch({ persistent: true });
  const swapped = once(a, 'swap', soon());
  files.deploy(2, 'libbelow.so');
  await swapped;
  t.equal(a.functions.above(), 21);
  a.close();

  using core = SoHandle.open(files.path('libbelow.so'), below);
  using b = SoHandle.open(files.path('b.so'), above);
  b.watch({ persistent: true });
  b.on('refused', ({ message }: SoError) => t.fail(message));
  t.equal(b.functions.above(), 21);
  const rebound = once(b, 'swap', soon());
  files.deploy(1, 'libbelow.so');
  core.swapSync();
  await rebound;
  t.equal(b.functions.above(), 11);
});

// The last one: it leaves its dependency loaded.
t.test('status(): a dependency stays with an image that stays', (t) => {
  const files = new Deployment(t.testdir());
  using a = SoHandle.open(files.path('a.so'), above, { unload: 'never' });
  files.deploy(2, 'libbelow.so');
  t.equal(a.status(), 'current');
  t.end();
});
