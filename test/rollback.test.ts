import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Definitions,
  loaded,
  type OpenOptions,
  SoGroup,
  SoHandle,
  type SwapOrder,
  swapChanged,
} from 'soswap';
import t, { type Test } from 'tap';
import { compile, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';
import { Gate } from '../fixtures/gate.js';
import { Watched, Witness } from '../fixtures/watched.js';

// The way back: copies of earlier generations.

const directory = t.testdir({ witness: {} });
const builds = twoBuilds(directory, 'gate.c');
compile('gate.c', join(directory, 'so3.so'), '-DLINE=3333');
compile('action.c', join(directory, 'other.so'), '-DLINE=4444'); // without pass()
const witness = new Witness(builds, join(directory, 'witness'));
const orders: SwapOrder[] = ['close-first', 'open-first'];
const definitions = {
  count: { return: 'int32' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true, optional: true },
  version: { return: 'string' },
} as const satisfies Definitions;

/** A handle of so1.so in a directory of its own, and what replaces its file. */
function open(t: Test, options: OpenOptions = {}) {
  const path = join(t.testdir(), 'so.so');
  const deploy = (name: string) => {
    copyFileSync(join(directory, name), `${path}.new`);
    renameSync(`${path}.new`, path);
  };
  deploy('so1.so');
  const so = SoHandle.open(path, definitions, options);
  t.teardown(() => so.close());
  const state = () => [so.functions.version(), so.functions.count(), so.generation, so.status()];
  const history = () => so.history.map(({ generation }) => generation);
  return { so, path, deploy, state, history };
}

const descriptors = () => readdirSync('/proc/self/fd').length;

for (const order of orders) {
  t.test(`${order}: back, further back, and no further`, async (t) => {
    const { so, path, deploy, state, history } = open(t, { history: 2 });
    const { version } = so.functions;
    const first = so.image;
    for (const name of ['so2.so', 'so3.so']) {
      so.functions.count();
      deploy(name);
      t.equal((await so.swap({ order })).rollback, false);
    }
    t.same(history(), [2, 1]);
    t.match(so.history[1], { ...first, toJSON: Function });
    const swaps: unknown[] = [];
    so.on('swap', (report) => swaps.push(report));

    const report = await so.rollback({ order });
    const place = { device: so.history[0]?.device, inode: first?.inode };
    t.match(report, { rollback: true, generation: 4, order, unmapped: true, path });
    t.same(report.current.buildId === report.previous.buildId, false);
    t.same(swaps, [report]);
    t.same(state(), ['build 2222', 1, 4, 'rolled-back']);
    t.same(history(), [1]);

    await so.rollback({ order });
    t.same(state(), ['build 1111', 1, 5, 'rolled-back']);
    t.same(
      [version(), so.image?.inode, so.image?.device],
      ['build 1111', place.inode, place.device],
    );
    t.same(history(), []);
    await t.rejects(so.rollback({ order }), {
      name: 'SoError',
      code: 'ERR_SOSWAP_NO_HISTORY',
      message: /the option history keeps 2/,
      outcome: 'unchanged',
    });

    await so.swap({ order });
    t.same(state(), ['build 3333', 1, 6, 'current']);
    t.same(history(), [5]);
  });

  t.test(
    `${order}: the file does not matter, and what was refused is not taken again`,
    async (t) => {
      const { so, path, deploy, state } = open(t);
      deploy('so2.so');
      await so.swap({ order });
      rmSync(path);
      await so.rollback({ order });
      t.same(state(), ['build 1111', 1, 3, 'missing']);
      deploy('so2.so'); // another inode
      t.same(state(), ['build 1111', 2, 3, 'rolled-back']);
      t.equal(await so.swap({ ifChanged: true, order }), null);
      t.match(await swapChanged([so]), [{ status: 'current' }]);
      deploy('so1.so');
      t.equal(so.status(), 'current');
      deploy('so3.so');
      t.equal(await so.statusAsync(), 'replaced');
      t.match(await so.swap({ ifChanged: true, order }), { generation: 4, rollback: false });
      deploy('so2.so');
      t.equal(so.status(), 'replaced', 'it may come back after another one');
    },
  );

  t.test(`${order}: a retained image is taken as it is, with its state`, async (t) => {
    const images = loaded().length;
    const { so, deploy, state } = open(t, { unload: 'never' });
    so.functions.count();
    deploy('so2.so');
    await so.swap({ order });
    const report = await so.rollback({ order });
    t.match(report, { unmapped: false, retained: [{ code: 'kept' }] });
    t.same(state(), ['build 1111', 2, 3, 'rolled-back']);
    t.equal(loaded().length, images + 2);
  });

  t.test(`${order}: what is wrong with the earlier generation changes nothing`, async (t) => {
    const { so, deploy, state, history } = open(t);
    deploy('other.so');
    t.same((await so.swap({ order })).missing, ['pass']);
    deploy('so2.so');
    await so.swap({ order });
    so.functions.count();
    so.getFunction('pass', definitions.pass);
    so.getFunction('caller', { return: 'int32' }); // which other.so lacks
    await t.rejects(so.rollback({ order }), {
      code: 'ERR_SOSWAP_MISSING_SYMBOL',
      symbol: 'caller',
    });
    t.equal(so.functions.version(), 'build 2222');
    t.same(history(), [2], 'it may be tried again');
    const verify = () => false;
    await t.rejects(so.rollback({ order, verify }), { code: 'ERR_SOSWAP_VERIFY' });
    await t.rejects(so.rollback({ order, signal: AbortSignal.abort('no') }), 'no');
    t.same([so.functions.version(), so.generation], ['build 2222', 3]);
    await so.swap({ order });
    await so.rollback({ order });
    t.same(state()[0], 'build 2222');
  });

  t.test(`${order}: 300 times to and fro, nothing is left`, async (t) => {
    const { so, deploy } = open(t);
    const round = async () => {
      deploy('so2.so');
      await so.swap({ order });
      await so.rollback({ order });
      deploy('so3.so');
      so.swapSync({ order });
      await so.rollback({ order, quarantine: false });
    };
    for (let warm = 0; warm < 5; warm++) await round();
    const [images, files] = [loaded().length, descriptors()];
    for (let count = 0; count < 75; count++) await round();
    t.same([so.functions.version(), loaded().length, descriptors()], ['build 1111', images, files]);
  });

  t.test(`${order}: the quarantine rehearses it`, async (t) => {
    const { so, deploy, state } = open(t);
    deploy('so2.so');
    await so.swap({ order });
    await so.rollback({ order, quarantine: true });
    t.same(state(), ['build 1111', 1, 3, 'rolled-back']);
  });
}

t.test('calls go on in the earlier image that comes back', async (t) => {
  const images = loaded().length;
  const { so, deploy, state } = open(t);
  const gate = new Gate();
  const pass = so.functions.pass?.(gate.words);
  await gate.arrival();
  deploy('so2.so');
  const report = await so.swap({ order: 'open-first', timeout: 0 });
  t.match(report.retained, [{ code: 'calls-in-flight' }]);
  await so.rollback({ order: 'open-first' });
  t.same(state(), ['build 1111', 1, 3, 'rolled-back'], 'the same image');
  gate.open();
  t.equal(await pass, 1111);
  await so.swap({ order: 'open-first' });
  t.same(state(), ['build 2222', 1, 4, 'current']);
  await so.rollback();
  t.equal(so.functions.version(), 'build 1111');
  so.close();
  t.equal(loaded().length, images);
});

t.test('a watch leaves the refused file alone until it changes', async (t) => {
  const path = join(t.testdir(), 'so.so');
  const deploy = (name: string) => {
    copyFileSync(join(directory, name), `${path}.new`);
    renameSync(`${path}.new`, path);
  };
  deploy('so1.so');
  const watched = new Watched(t, path);
  deploy('so2.so');
  await watched.told(1);
  await watched.so.rollback();
  deploy('so2.so');
  await witness.passed();
  t.same([watched.events, watched.line], [[2, 3], 1111]);
  deploy('so3.so');
  await watched.told(3);
  t.same([watched.events, watched.line], [[2, 3, 4], 3333]);
});

t.test('no history: none yet, none wanted, none possible', async (t) => {
  const none = (why: RegExp) => ({ code: 'ERR_SOSWAP_NO_HISTORY', message: why });
  const { so, deploy } = open(t);
  await t.rejects(so.rollback(), none(/history keeps 1/));
  so.close();
  await t.rejects(so.rollback(), { code: 'ERR_SOSWAP_CLOSED' });
  const without = open(t, { history: 0 });
  without.deploy('so2.so');
  await without.so.swap();
  t.same(without.history(), []);
  await t.rejects(without.so.rollback(), none(/opened with history: 0/));
  deploy('so1.so');
  const direct = SoHandle.open(so.path, {}, { image: 'direct' });
  t.teardown(() => direct.close());
  deploy('so2.so');
  await direct.swap();
  await t.rejects(direct.rollback(), none(/image: 'direct' keeps no copies/));
  for (const history of [-1, 1.5, 1001, Number.NaN]) {
    t.throws(() => open(t, { history }), { code: 'ERR_OUT_OF_RANGE' });
  }
  t.throws(() => open(t, { history: '1' as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => open(t, { history: 1, image: 'direct' }), { code: 'ERR_INVALID_ARG_VALUE' });
});

t.test('the list of images tells what the history holds', async (t) => {
  const { so, deploy } = open(t, { history: 2 });
  const held = () => loaded().find(({ base }) => base === so.image?.base)?.historySize;
  const size = so.image?.copySize ?? 0;
  t.equal(held(), 0);
  for (const [name, times] of [
    ['so2.so', 1],
    ['so3.so', 2],
    ['so2.so', 2],
  ] as const) {
    deploy(name);
    await so.swap();
    t.equal(held(), times * size);
  }
});

t.test('a member of a group goes back, bound to what the others run', async (t) => {
  const place = t.testdir({ built: {} });
  const built = (name: string, ...flags: string[]) =>
    compile('groups/member.c', join(place, 'built', name), ...flags);
  const soname = '-Wl,-soname,liba.so';
  const a = [1, 2].map((version) =>
    built(`a${version}.so`, '-DNAME=a', `-DVERSION=${version}`, soname),
  );
  copyFileSync(a[0] as string, join(place, 'built/liba.so'));
  const b = [1, 2].map((version) =>
    built(
      `b${version}.so`,
      '-DNAME=b',
      `-DVERSION=${version}`,
      '-DNEEDS=a',
      join(place, 'built/liba.so'),
    ),
  );
  const deploy = (from: string | undefined, name: string) => {
    copyFileSync(from as string, join(place, 'new'));
    renameSync(join(place, 'new'), join(place, name));
  };
  deploy(a[0], 'liba.so');
  deploy(b[0], 'libb.so');
  const group = new SoGroup();
  t.teardown(() => group.close());
  const value = { return: 'int32' } as const;
  const first = group.open(join(place, 'liba.so'), { a_value: value });
  const second = group.open(join(place, 'libb.so'), { b_value: value });
  const values = () => [first.functions.a_value(), second.functions.b_value()];
  t.same(values(), [1, 11]);
  deploy(b[1], 'libb.so');
  await group.swap();
  t.same(values(), [1, 12]);
  deploy(a[1], 'liba.so');
  await group.swap(); // both: b is bound to a
  t.same(values(), [2, 22]);
  deploy(b[0], 'libb.so');
  await second.swap();
  t.same(values(), [2, 21]);
  await second.rollback();
  t.same(values(), [2, 22]);
  await first.rollback(); // with b, from its file
  t.same(values(), [1, 11]);
  t.same([first.status(), second.status()], ['rolled-back', 'current']);
  t.same(await group.swap(), []);
});

t.test('private dependencies go back with their library', async (t) => {
  const place = t.testdir({ built: {} });
  mkdirSync(join(place, 'deps'));
  const layer = (name: string, ...flags: string[]) =>
    compile('layer.c', join(place, 'built', name), ...flags);
  const leaf = [1, 2].map((number) =>
    layer(`leaf${number}.so`, '-DNAME=leaf', `-DNUMBER=${number}`, '-Wl,-soname,libleaf.so'),
  );
  const app = [1, 2].map((number) =>
    layer(
      `app${number}.so`,
      '-DNAME=app',
      `-DNUMBER=${number}`,
      '-DFIRST=leaf',
      '-Wl,--no-as-needed',
      leaf[0] as string,
      '-Wl,-rpath,$ORIGIN/deps',
    ),
  );
  const deploy = (from: string | undefined, name: string) => {
    copyFileSync(from as string, join(place, 'new'));
    renameSync(join(place, 'new'), join(place, name));
  };
  const deployAll = (index: number) => {
    deploy(leaf[index], 'deps/libleaf.so');
    deploy(app[index], 'app.so');
  };
  deployAll(0);
  const images = loaded().length;
  const so = SoHandle.open(join(place, 'app.so'), {}, { dependencies: 'private', history: 2 });
  const number = so.getFunction('app', { return: 'int32' });
  const first = number();
  deployAll(1);
  await so.swap();
  const second = number();
  t.not(first, second);
  deploy(leaf[0], 'deps/libleaf.so');
  await so.swap();
  const third = number();
  t.notOk([first, second].includes(third));
  for (const [expected, order] of [
    [second, 'open-first'],
    [first, 'close-first'],
  ] as const) {
    await so.rollback({ order });
    t.same([number(), so.status()], [expected, 'rolled-back']);
  }
  await t.rejects(so.rollback(), { code: 'ERR_SOSWAP_NO_HISTORY' });
  deploy(leaf[1], 'deps/libleaf.so');
  await so.swap();
  t.equal(number(), second);
  so.close();
  t.equal(loaded().length, images);
});

t.test('in a worker, which may end in the middle', async (t) => {
  const { path, deploy } = open(t);
  deploy('so1.so');
  const program = `
    import { Worker, isMainThread } from 'node:worker_threads';
    import { copyFileSync, renameSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const [path, two] = ${JSON.stringify([path, join(directory, 'so2.so')])};
    const source = \`(async () => {
      const { SoHandle } = await import('soswap');
      const { copyFileSync, renameSync } = require('node:fs');
      const so = SoHandle.open(\${JSON.stringify(path)}, { version: { return: 'string' } });
      copyFileSync(\${JSON.stringify(two)}, \${JSON.stringify(path + '.new')});
      renameSync(\${JSON.stringify(path + '.new')}, \${JSON.stringify(path)});
      await so.swap();
      await so.rollback();
      console.log(so.functions.version());
      so.swap();
      so.rollback();
      process.exit();
    })()\`;
    new Worker(source, { eval: true, execArgv: [] });
  `;
  const ended = await runNode(['--input-type=module', '-e', program], { cwd: root });
  t.match(ended, { ...exitedCleanly, stdout: 'build 1111\n' });
});
