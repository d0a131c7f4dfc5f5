import { copyFileSync, rmSync } from 'node:fs';
import { type Definitions, loaded, SoHandle, type SwapOptions, type SwapOrder } from 'soswap';
import * as dl from 'soswap/dl';
import t, { type Test } from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { Gate, logOf } from '../fixtures/gate.js';
import { until } from '../fixtures/until.js';

const directory = t.testdir();
const builds = twoBuilds(directory, 'gate.c');
const log = `${directory}/log`;
const definitions = {
  count: { return: 'int32' },
  extra: { return: 'int32', optional: true },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
  version: { return: 'string' },
} as const satisfies Definitions;
const orders: SwapOrder[] = ['close-first', 'open-first'];
const refused = { name: 'SoError', code: 'ERR_SOSWAP_VERIFY', rolledBack: false };
const closed = { code: 'ERR_SOSWAP_CLOSED' };

/** A handle that runs the first build and has counted to 1, with the second build at its path. */
function openOne(t: Test) {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions);
  so.functions.count();
  copyFileSync(two, path);
  return so;
}

for (const order of orders) {
  for (const how of ['swapSync', 'swap'] as const) {
    t.test(`${how}(), ${order}: verify() gets the candidate beside the old image`, async (t) => {
      const so = openOne(t);
      const report = await so[how]({
        order,
        verify: ({ count, extra, version }) => {
          t.same([version(), count(), count(), extra], ['build 2222', 1, 2, null]);
          t.same([so.functions.version(), so.functions.count()], ['build 1111', 2]);
          t.equal(so.generation, 1);
        },
      });
      t.match(report, { generation: 2, order, unmapped: true, missing: ['extra'] });
      t.same([so.functions.version(), so.functions.count()], ['build 2222', 1], 'a fresh image');
      so.close();
    });

    t.test(`${how}(), ${order}: the candidate is loaded, unloaded and loaded again`, async (t) => {
      const so = openOne(t);
      const lines = await logOf(log, () => so[how]({ order, verify: () => true }));
      const exchange =
        order === 'close-first' ? ['end 1111', 'begin 2222'] : ['begin 2222', 'end 1111'];
      t.same(lines, ['begin 2222', 'end 2222', ...exchange]);
      so.close();
    });
  }
}

type Verdict = ReturnType<NonNullable<SwapOptions['verify']>>;
const error = new Error('prices are wrong');
const verdicts: [string, () => Verdict, object][] = [
  [
    'throws',
    () => {
      throw error;
    },
    { message: /prices are wrong/, cause: error },
  ],
  [
    'throws a string',
    () => {
      throw 'no';
    },
    { message: /no$/, cause: 'no' },
  ],
  [
    'throws undefined',
    () => {
      throw undefined;
    },
    {},
  ],
  ['returns false', () => false, {}],
];
const laterVerdicts: typeof verdicts = [
  ['rejects', () => Promise.reject(error), { message: /prices are wrong/, cause: error }],
  ['resolves with false', () => Promise.resolve(false), {}],
];

t.test('a candidate is refused when verify()', async (t) => {
  for (const [what, verify, expected] of [...verdicts, ...laterVerdicts]) {
    t.test(what, async (t) => {
      const so = openOne(t);
      for (const order of orders) {
        const tried = ['begin 2222', 'end 2222'];
        const lines = await logOf(log, () =>
          t.rejects(so.swap({ order, verify }), { ...refused, path: so.path, ...expected }),
        );
        t.same(lines, tried, 'it was loaded once, and is gone');
        if (laterVerdicts.some(([each]) => each === what)) continue;
        const syncLog = await logOf(log, () =>
          t.throws(() => so.swapSync({ order, verify }), { ...refused, ...expected }),
        );
        t.same(syncLog, tried);
      }
      t.same([so.generation, so.functions.version(), so.functions.count()], [1, 'build 1111', 2]);
      t.equal(loaded().length, 1);
      t.equal(so.swapSync().generation, 2, 'nothing stands in the way of the next swap');
      so.close();
    });
  }
});

t.test('true and nothing accept it', async (t) => {
  const so = openOne(t);
  for (const verdict of [true, undefined]) {
    so.swapSync({ verify: () => verdict });
    await so.swap({ verify: () => verdict });
    await so.swap({ verify: async () => verdict });
  }
  t.equal(so.generation, 7);
  so.close();
});

t.test('any other verdict is a mistake, and refuses it with a message that says so', async (t) => {
  const so = openOne(t);
  const mistakes: [unknown, string][] = [
    [null, 'null'],
    [0, '0'],
    [1, '1'],
    ['', "''"],
    [Number.NaN, 'NaN'],
    [{}, '{}'],
  ];
  for (const [verdict, text] of mistakes) {
    const verify = () => verdict as boolean;
    const told = { ...refused, message: new RegExp(`it returned ${text}; true or nothing`) };
    t.throws(() => so.swapSync({ verify }), told, text);
    await t.rejects(so.swap({ verify }), told, text);
    await t.rejects(so.swap({ verify: async () => verify() }), told, text);
  }
  t.equal(so.generation, 1);
  so.close();
});

t.test('swapSync() does not wait for a promise', async (t) => {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const program = `
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('${path}');
    const codes = [];
    for (const verify of [() => Promise.resolve(true), () => Promise.reject(new Error('no'))]) {
      try {
        so.swapSync({ verify });
      } catch ({ code }) {
        codes.push(code);
      }
    }
    process.send([so.generation, ...codes]);
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, exitedCleanly);
  t.same(ended.messages, [[1, refused.code, refused.code]]);
});

t.test('functions that verify() kept throw', async (t) => {
  const so = openOne(t);
  const kept: (typeof so.functions)[] = [];
  const verify = (functions: typeof so.functions) => {
    kept.push(functions);
  };
  await so.swap({ verify });
  so.swapSync({ verify });
  t.throws(() => so.swapSync({ verify: (functions) => kept.push(functions) < 0 }), refused);
  t.equal(kept.length, 3);
  for (const { count, pass } of kept) {
    t.throws(() => count(), closed);
    await t.rejects(pass(new Int32Array(2)), closed);
  }
  t.equal(so.functions.count(), 1);
  so.close();
});

t.test('nonblocking calls may be awaited in verify()', async (t) => {
  const so = openOne(t);
  const gate = new Gate();
  gate.open();
  const lines: number[] = [];
  await so.swap({
    verify: async ({ pass }) => {
      lines.push(await pass(gate.words), await pass(gate.words));
    },
  });
  t.same(lines, [2222, 2222]);
  t.equal(so.functions.version(), 'build 2222');
  so.close();
});

t.test('swap() waits for calls that verify() left in flight', async (t) => {
  const so = openOne(t);
  const gate = new Gate();
  const ends: string[] = [];
  const calls: Promise<unknown>[] = [];
  const swap = so.swap({
    verify: ({ pass }) => {
      calls.push(pass(gate.words).then((line) => ends.push(`call ${line}`)));
    },
  });
  const swapped = swap.then(() => ends.push('swap'));
  await gate.arrival();
  t.same([so.functions.version(), so.generation], ['build 1111', 1]);
  gate.open();
  await Promise.all([...calls, swapped]);
  t.same(ends, ['call 2222', 'swap']);
  t.equal(so.functions.version(), 'build 2222');
  so.close();
});

t.test('swapSync() refuses a candidate whose verify() left calls in flight', async (t) => {
  const so = openOne(t);
  const gate = new Gate();
  const calls: Promise<number>[] = [];
  const lines = await logOf(log, async () => {
    const verify = ({ pass }: typeof so.functions) => {
      calls.push(pass(gate.words));
    };
    t.throws(() => so.swapSync({ verify }), refused);
    await gate.arrival();
    t.same([so.functions.version(), so.functions.count()], ['build 1111', 2]);
    gate.open();
    t.same(await Promise.all(calls), [2222]);
    await until('the candidate is unmapped', () => loaded().length === 1);
  });
  t.same(lines, ['begin 2222', 'end 2222']);
  t.equal(so.swapSync().generation, 2);
  so.close();
});

t.test('a library that can start threads, and has not, is unmapped after the trial', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, { count: definitions.count, version: definitions.version });
  compile('retain/thread.c', path, '-DLINE=2222');
  const counts: number[] = [];
  const verify = ({ count }: typeof so.functions) => {
    counts.push(count());
  };
  t.ok((await so.swap({ verify })).unmapped);
  t.same([...counts, so.functions.count()], [1, 1]);
  t.throws(() => so.swapSync({ verify: () => false }), refused);
  await t.rejects(so.swap({ verify: () => false }), refused);
  t.match(loaded(), [{ state: 'live', generation: 2 }]);
  t.equal(loaded().length, 1);
  t.equal(so.functions.count(), 2);
  so.close();
});

t.test('a library that stays mapped after verify() is the one that runs', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const before = loaded().length;
  const so = SoHandle.open(path, { count: definitions.count, version: definitions.version });
  compile('action.c', path, '-DLINE=2222', '-Wl,-z,nodelete');
  await so.swap({ verify: ({ count }) => count() === 1 });
  t.same([so.functions.version(), so.functions.count()], ['build 2222', 2]);
  t.equal(loaded().length, before + 1);
  so.close();
});

t.test(
  "scope: 'global': a candidate that is being verified is not in the global scope",
  async (t) => {
    const { so: path, two } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path, definitions, { scope: 'global' });
    copyFileSync(two, path);
    const program = dl.dlopen(null);
    const old = so.getSymbol('called');
    so.swapSync({
      verify: () => {
        t.equal(dl.dlsym(program, 'called'), old);
      },
    });
    t.equal(dl.dlsym(program, 'called'), so.getSymbol('called'));
    dl.dlclose(program);
    so.close();
  },
);

t.test("image: 'direct': verify() gets a private copy", async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, definitions, { image: 'direct' });
  rmSync(path);
  copyFileSync(two, path);
  const versions: unknown[] = [];
  so.swapSync({
    verify: ({ version }) => {
      versions.push(version(), so.functions.version());
    },
  });
  t.same(versions, ['build 2222', 'build 1111']);
  t.equal(so.functions.version(), 'build 2222');
  so.close();
});
