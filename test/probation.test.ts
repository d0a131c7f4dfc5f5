import { once } from 'node:events';
import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import {
  type ProbationOptions,
  SoGroup,
  SoHandle,
  type SwapOrder,
  type SwapReport,
  swapAll,
} from 'soswap';
import t, { type Test } from 'tap';
import { compile, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runProgram } from '../fixtures/child.js';
import { Gate } from '../fixtures/gate.js';
import { until } from '../fixtures/until.js';

// A new generation that must prove itself.

const directory = t.testdir();
twoBuilds(directory, 'gate.c');
compile('gate.c', join(directory, 'so3.so'), '-DLINE=3333');
compile('gate.c', join(directory, 'same.so'), '-DLINE=1111', '-DWITH_EXTRA');
const orders: SwapOrder[] = ['close-first', 'open-first'];
const definitions = {
  count: { return: 'int32' },
  caller: { return: 'int32' },
  version: { return: 'string' },
  quote: { arguments: ['float64', 'uint32'], return: 'float64' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
} as const;

/** A handle of build 1111, with 2222 at its path. */
function open(t: Test, options: object = {}) {
  const path = join(t.testdir(), 'so.so');
  const deploy = (name: string) => {
    copyFileSync(join(directory, `${name}.so`), `${path}.new`);
    renameSync(`${path}.new`, path);
  };
  deploy('so1');
  const so = SoHandle.open(path, definitions, options);
  t.teardown(() => so.close());
  deploy('so2');
  const events: [string, ...unknown[]][] = [];
  so.on('rolledback', (report, cause) => events.push(['rolledback', report.generation, cause]));
  so.on('refused', (error) => events.push(['refused', error.code]));
  const back = () => once(so, 'rolledback') as Promise<[SwapReport, unknown]>;
  return { so, path, deploy, events, back };
}

const isOfTwo = (_: unknown, result: unknown) => result === 2222 || result === 'build 2222';

for (const order of orders) {
  t.test(`${order}: the first failure goes back`, async (t) => {
    const { so, back } = open(t);
    const { caller, version } = so.functions;
    const rolledBack = back();
    await so.swap({ order, probation: { failed: isOfTwo } });
    t.equal(caller(), 2222, 'the call itself is what it is');
    const [report, cause] = await rolledBack;
    t.match(report, { rollback: true, order, generation: 3, unmapped: true });
    t.match(cause, { message: 'caller() returned 2222' });
    t.same([version(), caller(), so.status()], ['build 1111', 1111, 'rolled-back']);
  });

  t.test(`${order}: a nonblocking call that fails goes back`, async (t) => {
    const { so, back } = open(t);
    const gate = new Gate();
    gate.open();
    const rolledBack = back();
    so.swapSync({ order, probation: { failed: isOfTwo } });
    t.equal(await so.functions.pass(gate.words), 2222);
    t.match(await rolledBack, [{ generation: 3 }, { message: 'pass() returned 2222' }]);
    t.equal(await so.functions.pass(gate.words), 1111);
  });

  t.test(`${order}: what is allowed is allowed`, async (t) => {
    const { so, back, events } = open(t);
    const seen: unknown[][] = [];
    const failed: ProbationOptions['failed'] = (...told) => {
      seen.push(told);
      return told[2] === 'count';
    };
    await so.swap({ order, probation: { failed, failures: 2, calls: 100 } });
    const { count, caller } = so.functions;
    count();
    caller();
    count();
    t.same(seen, [
      [undefined, 1, 'count'],
      [undefined, 2222, 'caller'],
      [undefined, 2, 'count'],
    ]);
    t.same(events, []);
    const rolledBack = back();
    t.equal(count(), 3);
    await rolledBack;
    t.equal(so.functions.version(), 'build 1111');
    count();
    t.equal(seen.length, 4, 'the old generation is on no probation');
  });

  t.test(`${order}: it ends after so many calls, or milliseconds`, async (t) => {
    const { so, deploy, events } = open(t);
    let seen = 0;
    const failed = () => {
      seen += 1;
      return false;
    };
    await so.swap({ order, probation: { calls: 3, failed } });
    for (let call = 0; call < 10; call++) so.functions.count();
    t.equal(seen, 3);
    deploy('so3');
    seen = 0;
    await so.swap({ order, probation: { milliseconds: 30, failed } });
    so.functions.count();
    t.equal(seen, 1);
    await setTimeout(60);
    so.functions.count();
    t.equal(seen, 1);
    t.same(events, []);
  });

  t.test(`${order}: the next swap ends it; a refused one does not`, async (t) => {
    const { so, deploy, events, back } = open(t);
    let seen = 0;
    const failed = () => {
      seen += 1;
      return true;
    };
    await so.swap({ order, probation: { failed, failures: 1 } });
    so.functions.count();
    await t.rejects(so.swap({ order, verify: () => false }));
    events.splice(0);
    const rolledBack = back();
    so.functions.count();
    t.equal(seen, 2);
    await rolledBack;
    deploy('so2');
    seen = 0;
    await so.swap({ order, probation: { failed } });
    deploy('so3');
    await so.swap({ order });
    so.functions.count();
    t.equal(seen, 0);
    t.equal(so.functions.version(), 'build 3333');
    t.equal(events.length, 1);
  });
}

t.test('a failure when a swap is asked for already', async (t) => {
  const { so, deploy, events } = open(t);
  await so.swap({ probation: { failed: isOfTwo } });
  deploy('so3');
  const next = so.swap();
  so.functions.caller();
  await next;
  await so.swap({ ifChanged: true });
  t.equal(so.functions.version(), 'build 3333', 'it does not go back from what has replaced it');
  t.same(events, []);
});

t.test('a failure right before close()', async (t) => {
  const { so, events } = open(t);
  await so.swap({ probation: { failed: isOfTwo } });
  so.functions.caller();
  so.close();
  await setTimeout(20);
  t.same(events, []);
});

t.test('calls that are not made do not count', async (t) => {
  const { so, events } = open(t);
  await so.swap({ probation: {} });
  const { quote, pass } = so.functions as unknown as Record<
    string,
    (...args: unknown[]) => unknown
  >;
  const wrong = { code: 'ERR_INVALID_ARG_VALUE' };
  t.throws(() => quote?.('1', 2), wrong);
  t.throws(() => quote?.(1), wrong);
  await t.rejects(pass?.('x', 1) as Promise<unknown>, wrong);
  await t.rejects(pass?.(1.5) as Promise<unknown>, wrong);
  await setTimeout(20);
  t.same(events, []);
  t.equal(so.generation, 2);
});

t.test('a call that throws', async (t) => {
  const path = join(t.testdir(), 'so.so');
  compile('throws.cc', path);
  using so = SoHandle.open(path, {
    throw_if: { arguments: ['int32'], return: 'int32' },
    throw_int: {},
  });
  const { throw_if, throw_int } = so.functions;
  for (const [call, message] of [
    [throw_int, /^throw_int\(\) threw a C\+\+ exception$/],
    [() => throw_if(3), /value is 3/],
  ] as const) {
    await so.swap({ probation: {} });
    t.equal(throw_if(0), 7);
    const rolledBack = once(so, 'rolledback');
    t.throws(call, { code: 'ERR_SOSWAP_NATIVE_EXCEPTION', message });
    t.match(await rolledBack, [{ rollback: true }, { message }]);
  }
});

t.test('a failed() that throws counts, and is told', async (t) => {
  const ended = await runProgram(
    `
      import { SoHandle } from 'soswap';
      const so = SoHandle.open(process.env.LIB, { count: { return: 'int32' } });
      process.on('uncaughtException', ({ message }) => console.log('uncaught', message));
      so.on('rolledback', ({ generation }, { message }) => console.log(generation, message));
      await so.swap({ probation: { failed() { throw new Error('of failed()'); } } });
      so.functions.count();
    `,
    { cwd: root, env: { LIB: join(directory, 'so1.so') } },
  );
  t.match(ended, exitedCleanly);
  t.match(ended.stdout, /uncaught of failed\(\)/);
  t.match(ended.stdout, /3 count\(\) returned 1/);
});

t.test('it keeps no process alive', async (t) => {
  const ended = await runProgram(
    `
      import { SoHandle } from 'soswap';
      const so = SoHandle.open(process.env.LIB, { count: { return: 'int32' } });
      await so.swap({ probation: { milliseconds: 1e9 } });
      so.functions.count();
    `,
    { cwd: root, env: { LIB: join(directory, 'so1.so') } },
  );
  t.match(ended, exitedCleanly);
});

t.test('where it has no way back, and wrong options', async (t) => {
  for (const options of [{ history: 0 }, { image: 'direct' }]) {
    const { so } = open(t, options);
    const none = { code: 'ERR_SOSWAP_NO_HISTORY', outcome: 'unchanged' };
    await t.rejects(so.swap({ probation: {} }), none);
    t.throws(() => so.swapSync({ probation: {} }), none);
  }
  const { so } = open(t);
  const wrong: [unknown, string][] = [
    [true, 'ERR_INVALID_ARG_TYPE'],
    [{ calls: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ calls: 1.5 }, 'ERR_OUT_OF_RANGE'],
    [{ failures: '1' }, 'ERR_INVALID_ARG_TYPE'],
    [{ milliseconds: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ failed: 1 }, 'ERR_INVALID_ARG_TYPE'],
    [{ fail: () => true }, 'ERR_INVALID_ARG_VALUE'],
  ];
  for (const [probation, code] of wrong) {
    await t.rejects(so.swap({ probation } as never), { code }, JSON.stringify(probation));
  }
  await so.swap();
  await t.rejects(so.rollback({ probation: {} }), { code: 'ERR_INVALID_ARG_VALUE' });
});

t.test(
  'with defaults of the handle, a watch, a prepared swap, swapAll() and a group',
  async (t) => {
    const probation = { failed: isOfTwo };
    const one = open(t, { swap: { probation } });
    one.so.watch();
    await until('the watch has swapped', () => one.so.generation === 2);
    let rolledBack = one.back();
    one.so.functions.caller();
    await rolledBack;
    t.equal(one.so.functions.version(), 'build 1111');

    const two = open(t);
    await (await two.so.prepare({ probation })).commit();
    rolledBack = two.back();
    two.so.functions.caller();
    await rolledBack;

    const [three, four] = [open(t), open(t)];
    await swapAll([three.so, four.so], { probation });
    rolledBack = three.back();
    three.so.functions.caller();
    await rolledBack;
    t.same([three.so.functions.version(), four.so.generation], ['build 1111', 2]);

    using group = new SoGroup();
    const path = join(t.testdir(), 'member.so');
    copyFileSync(join(directory, 'so1.so'), path);
    const member = group.open(path, definitions);
    copyFileSync(join(directory, 'so2.so'), `${path}.new`);
    renameSync(`${path}.new`, path);
    await group.swap({ probation });
    const memberBack = once(member, 'rolledback');
    member.functions.caller();
    await memberBack;
    t.equal(member.functions.version(), 'build 1111');
  },
);

t.test('a function that is bound meanwhile, and one that was optional', async (t) => {
  const { so, back } = open(t);
  await so.swap({ probation: { failed: isOfTwo } });
  const called = so.getFunction('called', { return: 'int32' });
  const rolledBack = back();
  t.equal(called(), 2222);
  await rolledBack;
  t.equal(called(), 1111);
});
