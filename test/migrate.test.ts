import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { type Definitions, loaded, SoHandle, type SwapOrder, swapAll } from 'soswap';
import t, { type Test } from 'tap';
import { compile, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';
import { Gate, logOf } from '../fixtures/gate.js';

// State that the program carries from one image to the next.

const directory = t.testdir();
const builds = twoBuilds(directory, 'gate.c');
compile('action.c', join(directory, 'other.so'), '-DLINE=4444'); // without pass()
const orders: SwapOrder[] = ['close-first', 'open-first'];
const definitions = {
  count: { return: 'int32' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true, optional: true },
  version: { return: 'string' },
} as const satisfies Definitions;
const refused = { name: 'SoError', code: 'ERR_SOSWAP_MIGRATE', outcome: 'unchanged' };

/** A handle of build 1111 whose counter is at 1, with 2222 at its path. */
function open(t: Test) {
  const path = join(t.testdir(), 'so.so');
  const deploy = (name: string) => {
    copyFileSync(join(directory, name), `${path}.new`);
    renameSync(`${path}.new`, path);
  };
  deploy('so1.so');
  const so = SoHandle.open(path, definitions);
  t.teardown(() => so.close());
  so.functions.count();
  deploy('so2.so');
  return { so, path, deploy };
}

type Handle = SoHandle<typeof definitions>;

/** Makes the next image count on. */
const carry: NonNullable<NonNullable<Parameters<Handle['swap']>[0]>['migrate']> = ({
  from,
  to,
}) => {
  const count = from.count();
  for (let round = 1; round < count; round++) to.count();
};

for (const order of orders) {
  t.test(`${order}: both images are there, once, and no call is in flight`, async (t) => {
    const { so, path } = open(t);
    const images = loaded().length;
    const log = await logOf(`${path}.log`, async () => {
      for (const swap of [
        () => so.swap({ order, migrate }),
        async () => so.swapSync({ order, migrate }),
      ]) {
        const was = so.functions.count();
        const report = await swap();
        t.match(report, { order, unmapped: true, retained: [] });
        t.equal(so.functions.count(), was + 1);
      }
    });
    function migrate(this: unknown, migration: Parameters<typeof carry>[0]) {
      const { from, to, previous, candidate } = migration;
      t.equal(loaded().length, images + 1);
      t.same([previous.generation + 1, to.version()], [candidate.generation, 'build 2222']);
      t.equal(from.version(), so.functions.version());
      carry(migration);
    }
    t.same(log, ['begin 2222', 'end 1111', 'begin 2222', 'end 2222']);
    t.equal(loaded().length, images);
  });

  t.test(`${order}: it may take its time; calls that can wait do`, async (t) => {
    const { so } = open(t);
    const gate = new Gate();
    const first = so.functions.pass?.(gate.words);
    await gate.arrival();
    let later: Promise<number> | undefined;
    const swapped = so.swap({
      order,
      migrate: async (migration) => {
        t.equal(gate.arrived, 1);
        later = so.functions.pass?.(gate.words);
        await new Promise((resolve) => setTimeout(resolve, 20));
        t.equal(gate.arrived, 1, 'it has not begun');
        t.equal(await migration.to.pass?.(gate.words), 2222);
        gate.words[0] = 1;
        carry(migration);
      },
    });
    gate.open();
    t.equal(await first, 1111);
    await swapped;
    t.equal(await later, 2222);
    t.equal(so.functions.count(), 2);
  });

  t.test(`${order}: a refusal changes nothing`, async (t) => {
    const { so } = open(t);
    const images = loaded().length;
    const kept: Parameters<typeof carry>[0][] = [];
    const cause = new Error('the layout is another one');
    const fails = {
      throws: () => {
        throw cause;
      },
      rejects: async () => {
        throw cause;
      },
      false: (migration: Parameters<typeof carry>[0]) => {
        kept.push(migration);
        return false;
      },
      other: () => 1 as never,
    };
    for (const [name, migrate] of Object.entries(fails)) {
      await t.rejects(so.swap({ order, migrate }), refused, name);
      t.throws(() => so.swapSync({ order, migrate }), refused, name);
    }
    await t.rejects(so.swap({ order, migrate: fails.throws }), { cause, message: /the layout/ });
    t.throws(() => so.swapSync({ order, migrate: async () => {} }), { message: /promise/ });
    for (const { from, to } of kept) {
      t.throws(() => from.count(), { code: 'ERR_SOSWAP_CLOSED' });
      t.throws(() => to.count(), { code: 'ERR_SOSWAP_CLOSED' });
    }
    t.same([so.functions.version(), so.functions.count(), so.generation], ['build 1111', 2, 1]);
    t.equal(loaded().length, images);
  });

  t.test(`${order}: it ends with its time, its signal or its handle`, async (t) => {
    const { so } = open(t);
    const images = loaded().length;
    const forever = () => new Promise<void>(() => {});
    await t.rejects(so.swap({ order, timeout: 0, migrate: forever }), {
      ...refused,
      message: /1000 ms/,
    });
    const controller = new AbortController();
    const aborts = () => {
      controller.abort('no more');
      return forever();
    };
    await t.rejects(so.swap({ order, signal: controller.signal, migrate: aborts }), 'no more');
    t.equal(loaded().length, images);
    t.same([so.functions.version(), so.functions.count()], ['build 1111', 2]);
    const closes: typeof carry = async ({ from, to }) => {
      t.throws(() => so.swapSync(), { code: 'ERR_SOSWAP_BUSY' });
      so.close();
      t.throws(() => from.count(), { code: 'ERR_SOSWAP_CLOSED' });
      t.throws(() => to.count(), { code: 'ERR_SOSWAP_CLOSED' });
    };
    await t.rejects(so.swap({ order, migrate: closes }), { code: 'ERR_SOSWAP_CLOSED' });
    await new Promise(setImmediate);
    t.equal(loaded().length, images - 1);
  });

  t.test(`${order}: calls that it leaves behind refuse it, and end by themselves`, async (t) => {
    const { so } = open(t);
    const images = loaded().length;
    const gates = [new Gate(), new Gate()] as const;
    const calls: (Promise<number> | undefined)[] = [];
    const leaves: typeof carry = ({ from, to }) => {
      calls.push(to.pass?.(gates[0].words));
      if (calls.length > 1) calls.push(from.pass?.(gates[1].words));
    };
    for (const message of [/left calls in flight/, /left calls in flight/]) {
      await t.rejects(so.swap({ order, timeout: 0, migrate: leaves }), { ...refused, message });
    }
    t.equal(so.functions.version(), 'build 1111');
    for (const gate of gates) gate.open();
    t.same(await Promise.all(calls), [2222, 2222, 1111]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    t.equal(loaded().length, images);
    await so.swap({ order, migrate: carry });
    t.equal(so.functions.count(), 2);
  });

  t.test(`${order}: with prepare(), rollback() and several handles`, async (t) => {
    const [one, two] = [open(t), open(t)];
    const prepared = await one.so.prepare({ order, migrate: carry });
    for (let call = 0; call < 5; call++) one.so.functions.count();
    await prepared.commit();
    t.same([one.so.functions.version(), one.so.functions.count()], ['build 2222', 7]);
    await one.so.rollback({ order, migrate: carry });
    t.same([one.so.functions.version(), one.so.functions.count()], ['build 1111', 8]);

    const both = [one.so, two.so];
    const only = (handle: SoHandle) =>
      handle === two.so ? { order, migrate: () => false } : { order };
    await t.rejects(swapAll(both, only), { ...refused, path: two.path });
    t.same(
      both.map(({ functions }) => functions.version()),
      ['build 1111', 'build 1111'],
    );
    await swapAll(both, { order, migrate: carry as never });
    t.same(
      both.map(({ functions }) => functions.version()),
      ['build 2222', 'build 2222'],
    );
    t.same(
      both.map(({ functions }) => functions.count()),
      [9, 2],
    );
  });
}

t.test('an optional function that one of the images lacks is null', async (t) => {
  const { so, deploy } = open(t);
  deploy('other.so');
  const lacking: unknown[] = [];
  const look: typeof carry = ({ from, to }) => {
    lacking.push([from.pass === null, to.pass === null]);
  };
  await so.swap({ migrate: look });
  deploy('so2.so');
  await so.swap({ migrate: look });
  t.same(lacking, [
    [false, true],
    [true, false],
  ]);
  t.throws(() => so.swapSync({ migrate: 'carry' as never }), { code: 'ERR_INVALID_ARG_TYPE' });
});

t.test('no increment is lost in 200 swaps under load, in a process that ends in one', async (t) => {
  const { path } = open(t);
  const program = `
    import { copyFileSync, renameSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const path = ${JSON.stringify(path)};
    const so = SoHandle.open(path, { count: { return: 'int32' } });
    const migrate = ({ from, to }) => {
      const count = from.count();
      for (let round = 1; round < count; round++) to.count();
    };
    let made = 0;
    const load = setInterval(() => { so.functions.count(); made++; }, 0);
    for (let round = 0; round < 200; round++) {
      copyFileSync(['${builds.one}', '${builds.two}'][round % 2], path + '.new');
      renameSync(path + '.new', path);
      await so.swap({ order: round % 3 ? 'open-first' : 'close-first', migrate });
    }
    clearInterval(load);
    console.log(made > 10, so.functions.count() - made);
    so.swap({ migrate: () => process.exit() });
  `;
  const ended = await runNode(['--input-type=module', '-e', program], { cwd: root });
  t.match(ended, { ...exitedCleanly, stdout: 'true 1\n' });
});
