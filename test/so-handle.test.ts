import { copyFileSync, renameSync, statSync } from 'node:fs';
import { relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SoHandle, type SwapOrder } from 'soswap';
import * as dl from 'soswap/dl';
import t from 'tap';
import { buildIdOf, compile, compileAction, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const withExtra = compileAction(`${directory}/extra.so`, 2222, '-DWITH_EXTRA');
const definitions = {
  action: { return: 'int32' },
  count: { return: 'int32' },
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
  version: { return: 'string' },
} as const;
const orders: SwapOrder[] = ['close-first', 'open-first'];

t.test('functions are called as they are defined', async (t) => {
  const so = SoHandle.open(builds.one, definitions);
  const { action, count, quote, version } = so.functions;
  t.equal(action(), 1111);
  t.equal(quote(101.5, 3), 304.5);
  t.equal(version(), 'build 1111');
  t.same([count(), count()], [1, 2]);
  t.same(Object.keys(so.functions), ['action', 'count', 'quote', 'version']);
  so.close();
});

t.test('a library opens without definitions, by relative path and by file: URL', async (t) => {
  for (const path of [relative(process.cwd(), builds.one), pathToFileURL(builds.one)]) {
    const so = SoHandle.open(path);
    t.equal(so.path, builds.one);
    t.same(Object.keys(so.functions), []);
    so.close();
  }
});

t.test('a bare name is looked up as dlopen(3) does', async (t) => {
  const so = SoHandle.open('libm.so.6', { cos: { arguments: ['double'], return: 'double' } });
  t.equal(so.functions.cos(0), 1);
  t.match(so.path, /^\/.+\/libm\.so\.6$/);
  t.throws(() => SoHandle.open('libabsent.so.7'), {
    code: 'ERR_SOSWAP_NOT_FOUND',
    message: /libabsent\.so\.7/,
  });
  so.close();
});

t.test('the image has the identity of the file that it was taken from', async (t) => {
  const so = SoHandle.open(builds.one);
  const { dev, ino, size, mtimeNs } = statSync(builds.one, { bigint: true });
  t.match(so.image, {
    generation: 1,
    device: dev,
    inode: ino,
    size: Number(size),
    mtimeNs,
    buildId: buildIdOf(builds.one),
  });
  so.close();
});

t.test('the image of a library without a build id has none', async (t) => {
  const plain = compileAction(`${t.testdir()}/plain.so`, 1111, '-Wl,--build-id=none');
  const so = SoHandle.open(plain);
  t.equal(so.image?.buildId, null);
  so.close();
});

t.test('getFunction() binds one more function, which follows swaps too', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path);
  const version = so.getFunction('version', { return: 'string' });
  t.equal(version(), 'build 1111');
  t.equal(so.getFunction('version', { return: 'string' }), version);
  copyFileSync(two, path);
  so.swapSync();
  t.equal(version(), 'build 2222');
  t.throws(() => so.getFunction('nowhere', {}), {
    code: 'ERR_SOSWAP_MISSING_SYMBOL',
    symbol: 'nowhere',
  });
  so.close();
});

t.test('getSymbol() gives the address in the current image', async (t) => {
  const so = SoHandle.open(builds.one, definitions);
  const address = so.getSymbol('count');
  const count = dl.functionAt(address, { return: 'int32' });
  t.same([so.functions.count(), count()], [1, 2], 'the same function');
  t.throws(() => so.getSymbol('nowhere'), { code: 'ERR_SOSWAP_MISSING_SYMBOL', symbol: 'nowhere' });
  so.close();
});

for (const order of orders) {
  for (const how of ['swapSync', 'swap'] as const) {
    t.test(`${how}(), ${order}: the same functions run the new code`, async (t) => {
      const { one, so: path, two } = copyBuilds(builds, t.testdir());
      const so = SoHandle.open(path, definitions);
      const { functions } = so;
      const { action, count, quote, version } = functions;
      t.same([action(), count(), quote(100, 2), version()], [1111, 1, 200, 'build 1111']);

      renameSync(two, path);
      const report = await so[how]({ order });
      t.same([action(), count(), quote(100, 2), version()], [2222, 1, 100, 'build 2222']);
      t.equal(so.functions, functions);
      t.equal(so.functions.action, action);
      t.match(report, {
        path,
        generation: 2,
        order,
        previous: { generation: 1, buildId: buildIdOf(one) },
        current: { generation: 2, buildId: buildIdOf(path) },
        unmapped: true,
        retained: [],
        missing: [],
      });
      t.ok(report.pauseMicroseconds > 0);
      t.ok(report.totalMicroseconds >= report.pauseMicroseconds);
      t.same([so.generation, so.image], [2, report.current]);
      so.close();
    });
  }

  t.test(`the loader refuses a candidate, ${order}: the functions run the old code`, async (t) => {
    const { so: path, two } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path, definitions);
    const { action, count } = so.functions;
    t.same([count(), count()], [1, 2]);
    compile('static-tls.c', path, '-DLINE=2222');

    // Whoever closes first can only load the old code anew.
    const rolledBack = order === 'close-first';
    const refused = {
      name: 'SoError',
      code: 'ERR_SOSWAP_LOADER',
      message: /TLS/,
      path,
      rolledBack,
    };
    t.throws(() => so.swapSync({ order }), refused);
    t.same([action(), count(), so.generation], [1111, rolledBack ? 1 : 3, 1]);
    await t.rejects(so.swap({ order }), refused);
    t.same([action(), count(), so.generation], [1111, rolledBack ? 1 : 4, 1]);

    copyFileSync(two, path);
    t.equal(so.swapSync({ order }).generation, 2);
    t.equal(action(), 2222);
    so.close();
  });
}

t.test('a candidate that needs an absent symbol is refused, and the old state stays', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const { action, count } = so.functions;
  t.equal(count(), 1);
  compile('undefined-symbol.c', path, '-DLINE=2222');
  const refused = {
    code: 'ERR_SOSWAP_UNDEFINED_SYMBOL',
    message: /defined_nowhere/,
    symbol: 'defined_nowhere',
    path,
    rolledBack: false,
  };
  for (const order of orders) {
    t.throws(() => so.swapSync({ order }), refused);
    await t.rejects(so.swap({ order }), refused);
  }
  t.same([action(), count(), so.generation], [1111, 2, 1]);
  t.throws(() => SoHandle.open(path), refused);
  so.close();
});

t.test('a candidate whose dependency is absent is refused, and named', async (t) => {
  const cwd = t.testdir();
  const { so: path, two } = copyBuilds(builds, cwd);
  const so = SoHandle.open(path, definitions);
  const soname = 'libsoswap-absent.so.1';
  const dependency = compile('dependency.c', `${cwd}/dependency.so`, `-Wl,-soname,${soname}`);
  compileAction(path, 2222, '-Wl,--no-as-needed', dependency);
  const refused = {
    code: 'ERR_SOSWAP_MISSING_DEPENDENCY',
    message: new RegExp(soname),
    rolledBack: false,
  };
  t.equal(so.functions.count(), 1);
  t.throws(() => so.swapSync(), refused);
  t.same([so.functions.action(), so.functions.count()], [1111, 2]);
  t.throws(() => SoHandle.open(path), refused);
  copyFileSync(two, path);
  so.swapSync();
  t.equal(so.functions.action(), 2222);
  so.close();
});

t.test('an absent symbol refuses a library, and the error lists all of them', async (t) => {
  const wanted = { action: {}, beta: {}, gamma: {}, maybe: { optional: true } } as const;
  t.throws(() => SoHandle.open(builds.one, wanted), {
    code: 'ERR_SOSWAP_MISSING_SYMBOL',
    message: /beta, gamma/,
    symbol: 'beta',
  });
});

t.test('an absent symbol refuses a candidate, and the old image keeps its state', async (t) => {
  const path = `${t.testdir()}/so.so`;
  copyFileSync(withExtra, path);
  const so = SoHandle.open(path, { count: { return: 'int32' }, extra: { return: 'int32' } });
  const { count, extra } = so.functions;
  t.equal(count(), 1);
  copyFileSync(builds.one, path);
  const refused = { code: 'ERR_SOSWAP_MISSING_SYMBOL', symbol: 'extra', rolledBack: false };
  for (const order of orders) {
    t.throws(() => so.swapSync({ order }), refused);
    await t.rejects(so.swap({ order }), refused);
  }
  t.same([count(), extra(), so.generation], [2, 2222, 1]);
  so.close();
});

t.test('an optional symbol comes and goes with the images', async (t) => {
  const path = `${t.testdir()}/so.so`;
  copyFileSync(builds.one, path);
  const so = SoHandle.open(path, { extra: { return: 'int32', optional: true } });
  t.equal(so.functions.extra, null);
  t.equal(so.getFunction('extra', { return: 'int32', optional: true }), null);

  copyFileSync(withExtra, path);
  t.same(so.swapSync().missing, []);
  const { extra } = so.functions;
  t.equal(extra?.(), 2222);

  copyFileSync(builds.one, path);
  t.same(so.swapSync().missing, ['extra']);
  t.throws(() => extra?.(), { code: 'ERR_SOSWAP_MISSING_SYMBOL', symbol: 'extra' });

  copyFileSync(withExtra, path);
  so.swapSync();
  t.equal(extra?.(), 2222);
  so.close();
});

t.test('two handles on one path have images and state of their own', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const first = SoHandle.open(path, definitions);
  const second = SoHandle.open(path, definitions);
  t.same([first.functions.count(), first.functions.count()], [1, 2]);
  t.equal(second.functions.count(), 1);

  renameSync(two, path);
  first.swapSync();
  t.same([first.functions.action(), second.functions.action()], [2222, 1111]);
  t.same([first.generation, second.generation], [2, 1]);
  t.equal(second.functions.count(), 2);

  first.close();
  second.swapSync();
  t.equal(second.functions.action(), 2222);
  second.close();
});

t.test('swap() leaves the old code callable until it is done', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const { action, count } = so.functions;
  renameSync(two, path);
  const swap = so.swap();
  t.same([action(), count(), so.generation], [1111, 1, 1]);
  await swap;
  t.same([action(), count(), so.generation], [2222, 1, 2]);
  so.close();
});

t.test('a refused swap does not hold up the next one', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  compile('static-tls.c', path, '-DLINE=2222');
  const refused = so.swap();
  await t.rejects(refused, { code: 'ERR_SOSWAP_LOADER' });
  copyFileSync(two, path);
  const [first, second] = await Promise.allSettled([so.swap(), so.swap()]);
  t.match([first, second], [{ status: 'fulfilled' }, { status: 'fulfilled' }]);
  t.equal(so.functions.action(), 2222);
  so.close();
});

t.test('many swaps in a row run the file of the moment each time', async (t) => {
  const { one, two, so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  const { quote } = so.functions;
  for (let round = 0; round < 20; round++) {
    copyFileSync(round % 2 === 0 ? two : one, path);
    if (round % 4 < 2) so.swapSync();
    else await so.swap();
    t.equal(quote(1, 2), round % 2 === 0 ? 1 : 2);
  }
  t.equal(so.generation, 21);
  so.close();
});

t.test('scope and binding are those of dlopen(3)', async (t) => {
  const path = compile('undefined-symbol.c', `${t.testdir()}/so.so`, '-DLINE=1111', '-Wl,-z,lazy');
  const lazy = SoHandle.open(path, { action: { return: 'int32' } }, { binding: 'lazy' });
  t.equal(lazy.functions.action(), 1111);
  t.throws(() => SoHandle.open(path, {}, { binding: 'now' }), {
    code: 'ERR_SOSWAP_UNDEFINED_SYMBOL',
  });
  lazy.close();

  const program = dl.dlopen(null);
  const local = SoHandle.open(builds.one);
  t.throws(() => dl.dlsym(program, 'quote'), { code: 'ERR_SOSWAP_MISSING_SYMBOL' });
  const global = SoHandle.open(builds.one, {}, { scope: 'global' });
  t.equal(dl.dlsym(program, 'quote'), global.getSymbol('quote'));
  global.close();
  local.close();
  dl.dlclose(program);
});

t.test('a bound function works when its handle was dropped and collected', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `
    import { setImmediate } from 'node:timers/promises';
    import { SoHandle } from 'soswap';
    const bind = () => {
      const so = SoHandle.open('./so.so', { count: { return: 'int32' } });
      // The same garbage without a function: shows that the collector did its work.
      collected.register(SoHandle.open('./so.so'));
      return so.functions.count;
    };
    let done = false;
    const collected = new FinalizationRegistry(() => { done = true; });
    const count = bind();
    count();
    for (let round = 0; round < 100 && !done; round++) {
      gc();
      await setImmediate();
    }
    process.send([done, count()]);
  `;
  const ended = await runProgram(program, { cwd }, '--expose-gc');
  t.match(ended, exitedCleanly);
  t.same(ended.messages, [[true, 2]]);
});
