import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { copyFileSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { inspect, type LoadedImage, loaded, SoHandle, type SwapOrder, swapAll } from 'soswap';
import t, { type Test } from 'tap';
import { compile, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runNode, runProgram } from '../fixtures/child.js';
import { Gate, logOf } from '../fixtures/gate.js';
import { MarkdownFile } from '../fixtures/markdown.js';
import { until } from '../fixtures/until.js';

// The hooks of native/include/soswap.h.

const directory = t.testdir();
twoBuilds(directory, 'hooks.c');
const build = (name: string, ...flags: string[]) =>
  compile('hooks.c', join(directory, `${name}.so`), '-DLINE=2222', ...flags);
build('refusing', '-DREFUSE_LOAD');
const orders: SwapOrder[] = ['close-first', 'open-first'];
const callbackType = koffi.pointer(koffi.proto('void call()'));
const definitions = {
  increment: { return: 'int32' },
  version: { return: 'string' },
  refuse: { arguments: ['string'] },
  call_from_hooks: { arguments: ['pointer'] },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
} as const;

/** A handle of build 1111 whose counter is at 1. */
function open(t: Test) {
  const path = join(t.testdir(), 'so.so');
  const deploy = (name: string) => {
    copyFileSync(join(directory, `${name}.so`), `${path}.new`);
    renameSync(`${path}.new`, path);
  };
  deploy('so1');
  const so = SoHandle.open(path, definitions);
  t.teardown(() => so.close());
  so.functions.increment();
  return { so, path, deploy, log: (run: () => unknown) => logOf(`${path}.log`, run) };
}

/** The lines without those of constructors and destructors. */
const hooksOf = (lines: readonly string[]) => lines.filter((line) => !/^(begin|end)/.test(line));

for (const order of orders) {
  t.test(`${order}: state goes from 1 to 2 and back to 1`, async (t) => {
    const { so, deploy, log } = open(t);
    const closes = order === 'close-first';
    deploy('so2');
    t.same(
      await log(async () => t.match(await so.swap({ order }), { unmapped: true })),
      closes
        ? ['save 1111', 'unload 1111', 'end 1111', 'begin 2222', 'load 2222 with 1 of 1111']
        : ['begin 2222', 'save 1111', 'load 2222 with 1 of 1111', 'unload 1111', 'end 1111'],
    );
    t.equal(so.functions.increment(), 2);
    deploy('so1');
    t.same(hooksOf(await log(() => so.swapSync({ order }))), [
      'save 2222',
      ...(closes
        ? ['unload 2222', 'load 1111 with 2 of 2222']
        : ['load 1111 with 2 of 2222', 'unload 2222']),
    ]);
    t.equal(so.functions.increment(), 3);
    t.match(hooksOf(await log(() => so.rollback({ order }))), [
      'save 1111',
      closes ? 'unload 1111' : 'load 2222 with 3 of 1111',
    ]);
    t.same([so.functions.version(), so.functions.increment()], ['build 2222', 4]);
  });

  t.test(`${order}: a load that refuses leaves the old image with its state`, async (t) => {
    const { so, deploy, log } = open(t);
    const images = loaded().length;
    deploy('refusing');
    const closes = order === 'close-first';
    const refused = {
      code: 'ERR_SOSWAP_REFUSED_BY_LIBRARY',
      outcome: closes ? 'rolled-back' : 'unchanged',
      message: /soswap_load refused: the disk is full/,
    };
    const lines = await log(() => t.rejects(so.swap({ order }), refused));
    t.same(
      lines,
      closes
        ? [
            'save 1111',
            'unload 1111',
            'end 1111',
            'begin 2222',
            'load 2222 with 1 of 1111',
            'end 2222',
            'begin 1111',
            'load 1111 with 1 of 1111',
          ]
        : ['begin 2222', 'save 1111', 'load 2222 with 1 of 1111', 'end 2222'],
    );
    t.throws(() => so.swapSync({ order }), refused);
    t.same([so.functions.version(), so.functions.increment()], ['build 1111', 2]);
    t.equal(loaded().length, images);
  });

  t.test(`${order}: a save that refuses changes nothing`, async (t) => {
    const { so, deploy, log } = open(t);
    deploy('so2');
    so.functions.refuse('save');
    const refused = { code: 'ERR_SOSWAP_REFUSED_BY_LIBRARY', outcome: 'unchanged' };
    t.same(hooksOf(await log(() => t.rejects(so.swap({ order }), refused))), ['save 1111']);
    t.throws(() => so.exportState(), { ...refused, message: /soswap_save refused: not now/ });
    t.same([so.functions.version(), so.functions.increment()], ['build 1111', 2]);
    so.functions.refuse('');
    await so.swap({ order });
    t.equal(so.functions.increment(), 3);
  });

  t.test(`${order}: several handles take effect with their states, or none does`, async (t) => {
    const [one, two] = [open(t), open(t)];
    one.deploy('so2');
    two.deploy('refusing');
    await t.rejects(swapAll([one.so, two.so], { order }), {
      code: 'ERR_SOSWAP_REFUSED_BY_LIBRARY',
    });
    for (const { so } of [one, two]) {
      t.same([so.functions.version(), so.functions.increment()], ['build 1111', 2]);
    }
    two.deploy('so2');
    await swapAll([one.so, two.so], { order });
    for (const { so } of [one, two]) {
      t.same([so.functions.version(), so.functions.increment()], ['build 2222', 3]);
    }
  });

  t.test(`${order}: migrate comes between load and unload`, async (t) => {
    const { so, deploy, log } = open(t);
    deploy('so2');
    const migrate = ({ from, to }: { from: typeof so.functions; to: typeof so.functions }) => {
      t.same([from.increment(), to.increment()], [2, 2]);
    };
    const lines = hooksOf(await log(() => so.swap({ order, migrate })));
    t.same(lines, ['save 1111', 'load 2222 with 1 of 1111', 'unload 1111']);
    t.equal(so.functions.increment(), 3);
    deploy('so1');
    const refusing = hooksOf(
      await log(() => t.rejects(so.swap({ order, migrate: () => false }), { code: /MIGRATE/ })),
    );
    t.same(refusing, ['save 2222', 'load 1111 with 3 of 2222', 'unload 1111']);
    t.equal(so.functions.increment(), 4);
  });

  t.test(`${order}: hooks that call back into the handle get errors`, async (t) => {
    const { so, deploy } = open(t);
    const codes: unknown[] = [];
    const codeOf = (call: () => unknown) => {
      try {
        call();
        return 'none';
      } catch (error) {
        return (error as { code?: string }).code;
      }
    };
    const callback = koffi.register(() => {
      codes.push(
        codeOf(() => so.swapSync()),
        codeOf(() => so.close()),
        codeOf(() => so.exportState()),
      );
    }, callbackType);
    t.teardown(() => koffi.unregister(callback));
    so.functions.call_from_hooks(koffi.address(callback));
    t.teardown(() => so.closed || so.functions.call_from_hooks(0n));
    so.exportState();
    const busy = 'ERR_SOSWAP_BUSY';
    t.same(codes.splice(0), [busy, busy, busy]);
    deploy('so2');
    await so.swap({ order });
    t.ok(codes.length >= 6, `${codes}`);
    t.equal(so.functions.increment(), 2);
  });
}

t.test('an unload that refuses', async (t) => {
  const { so, deploy } = open(t);
  deploy('so2');
  so.functions.refuse('unload');
  await t.rejects(so.swap(), { code: 'ERR_SOSWAP_REFUSED_BY_LIBRARY', outcome: 'unchanged' });
  t.same([so.functions.version(), so.functions.increment()], ['build 1111', 2]);
  t.match(await so.swap({ order: 'open-first' }), {
    unmapped: false,
    retained: [{ code: 'refused-by-library', detail: /soswap_unload refused: not now/ }],
  });
  t.equal(so.functions.increment(), 3);
  so.functions.refuse('unload');
  t.match(await so.swap({ unload: 'always' }), { unmapped: true }, 'unless it is forced');
});

t.test('open() of a library that refuses, throws or crashes in its hook', async (t) => {
  const path = join(directory, 'refusing.so');
  const images = loaded().length;
  const refused = { code: 'ERR_SOSWAP_REFUSED_BY_LIBRARY', message: /the disk is full$/ };
  t.throws(() => SoHandle.open(path), refused);
  await t.rejects(SoHandle.openAsync(path), refused);
  const throwing = compile('hooks-throw.cc', join(directory, 'throwing.so'));
  t.throws(() => SoHandle.open(throwing), {
    code: 'ERR_SOSWAP_NATIVE_EXCEPTION',
    message: /soswap_load threw a C\+\+ exception: no table/,
  });
  t.equal(loaded().length, images);
});

t.test('a candidate that crashes, hangs or refuses in quarantine', async (t) => {
  const { so, deploy } = open(t);
  build('crashing', '-DCRASH_LOAD');
  build('hanging', '-DHANG_LOAD');
  for (const [name, message] of [
    ['crashing', /SIGSEGV/],
    ['hanging', /hung there for 3000 ms/],
    ['refusing', /the disk is full/],
  ] as const) {
    deploy(name);
    await t.rejects(so.swap({ quarantine: { timeout: 3000 } }), {
      code: 'ERR_SOSWAP_QUARANTINE',
      outcome: 'unchanged',
      message,
    });
    t.equal(so.functions.version(), 'build 1111');
  }
  deploy('so2');
  await so.swap({ quarantine: true });
  t.equal(so.functions.increment(), 2);
});

t.test('ten calls in flight in the old image, and a swap in between', async (t) => {
  const { so, deploy, log } = open(t);
  const [one, two] = [new Gate(), new Gate()];
  const lines = await log(async () => {
    const calls = Array.from({ length: 4 }, () => so.functions.pass(one.words));
    await one.arrival(4);
    const queued = Array.from({ length: 6 }, () => so.functions.pass(one.words));
    deploy('so2');
    const first = await so.swap({ order: 'open-first', timeout: 0 });
    t.match(first.retained, [{ code: 'calls-in-flight' }]);
    t.equal(so.functions.increment(), 2);
    deploy('so1');
    await so.swap({ order: 'open-first', timeout: 0 });
    t.equal(so.functions.increment(), 3);
    const waiting = so.functions.pass(two.words);
    one.open();
    two.open();
    t.same(await Promise.all([...calls, ...queued]), Array(10).fill(1111));
    t.equal(await waiting, 1111);
    const isFirst = (each: LoadedImage) => each.path === so.path && each.generation === 1;
    await until('the first image is gone', () => !loaded().some(isFirst));
  });
  t.same(lines, [
    'begin 2222',
    'save 1111',
    'load 2222 with 1 of 1111',
    'begin 1111',
    'save 2222',
    'load 1111 with 2 of 2222',
    'unload 2222',
    'end 2222',
    'unload 1111',
    'end 1111',
  ]);
});

t.test('what the program gives and gets', (t) => {
  const { so, path } = open(t);
  const exported = so.exportState();
  t.match(exported, { stateVersion: 1111 });
  t.equal(exported?.state.readInt32LE(), 1);
  t.equal(so.functions.increment(), 2, 'it runs on');
  const state = Buffer.alloc(4);
  state.writeInt32LE(41);
  for (const given of [state, new Uint8Array(state)]) {
    using other = SoHandle.open(path, definitions, { state: given, stateVersion: 7 });
    t.equal(other.functions.increment(), 42);
  }
  const withoutHooks = compile('action.c', join(directory, 'plain.so'), '-DLINE=1');
  using plain = SoHandle.open(withoutHooks, {}, { state });
  t.equal(plain.exportState(), null, 'a library without hooks');
  const wrong: [object, string][] = [
    [{ state: 'text' }, 'ERR_INVALID_ARG_TYPE'],
    [{ state: [1] }, 'ERR_INVALID_ARG_TYPE'],
    [{ stateVersion: 1 }, 'ERR_INVALID_ARG_VALUE'],
    [{ state, stateVersion: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ state, stateVersion: 2 ** 32 }, 'ERR_OUT_OF_RANGE'],
    [{ state, stateVersion: '1' }, 'ERR_INVALID_ARG_TYPE'],
  ];
  for (const [options, code] of wrong) {
    t.throws(() => SoHandle.open(path, definitions, options), { code });
  }
  so.close();
  t.throws(() => so.exportState(), { code: 'ERR_SOSWAP_CLOSED' });
  t.end();
});

t.test('a state over 1 GiB', async (t) => {
  const { so, deploy } = open(t);
  build('huge', '-DHUGE_STATE');
  deploy('huge');
  await so.swap();
  const tooLarge = { code: 'ERR_SOSWAP_STATE_TOO_LARGE', outcome: 'unchanged' };
  t.throws(() => so.exportState(), tooLarge);
  deploy('so1');
  await t.rejects(so.swap(), tooLarge);
  t.equal(so.functions.version(), 'build 2222');
});

t.test('another soswap.h is refused before any code of the library runs', async (t) => {
  const { so, deploy, log } = open(t);
  build('without', '-DSOSWAP_NO_ABI');
  build('newer', '-DSOSWAP_NO_ABI', '-include', 'stdint.h', '-DNEWER_ABI');
  for (const name of ['without', 'newer']) {
    deploy(name);
    const refused = { code: 'ERR_SOSWAP_HOST_ABI', outcome: 'unchanged', message: /soswap\.h/ };
    const lines = await log(async () => {
      await t.rejects(so.swap(), refused);
      so.exportState(); // for a line
    });
    t.same(lines, ['save 1111']);
  }
  t.throws(() => SoHandle.open(so.path), { code: 'ERR_SOSWAP_HOST_ABI' });
  t.end();
});

t.test('what is told of hooks', async (t) => {
  const lines: unknown[] = [];
  const listener = (message: unknown) => lines.push(message);
  subscribe('soswap:log', listener);
  const { so, path } = open(t);
  unsubscribe('soswap:log', listener);
  t.same(lines, [{ path, generation: 1, text: 'load 1111' }]);
  const told = { hooks: ['soswap_save', 'soswap_load', 'soswap_unload'], keeps: ['kept'] };
  t.match(inspect(path), told);
  t.match(
    loaded().find((each) => each.path === path),
    told,
  );
  t.match(so.swapSync(), { kept: ['kept'], reset: [] });
});

t.test('verify tries an image that begins from nothing', async (t) => {
  const { so, deploy, log } = open(t);
  deploy('so2');
  const verify = ({ increment }: typeof so.functions) => void t.equal(increment(), 1);
  t.same(await log(() => so.swap({ verify })), [
    'begin 2222',
    'load 2222',
    'unload 2222',
    'end 2222',
    'save 1111',
    'unload 1111',
    'end 1111',
    'begin 2222',
    'load 2222 with 1 of 1111',
  ]);
  t.equal(so.functions.increment(), 2);
});

t.test('the example in Rust', async (t) => {
  const [source = ''] = new MarkdownFile('docs/state.md')
    .codeBlocks()
    .flatMap(({ language, text }) => (language === 'rust' ? text : []));
  const file = join(t.testdir({ 'counter.rs': source }), 'counter.rs');
  const counter = compile(file, `${file}.so`, '-A', 'warnings');
  using so = SoHandle.open(counter, { next: { return: 'uint32' } });
  so.functions.next();
  for (const order of orders) await so.swap({ order });
  t.equal(so.functions.next(), 2);
  t.match(so.exportState(), { stateVersion: 1 });
});

t.test('a file that was removed, and a worker', async (t) => {
  const { so, path, deploy } = open(t);
  deploy('so2');
  await so.swap();
  rmSync(path);
  await so.rollback();
  t.same([so.functions.version(), so.functions.increment()], ['build 1111', 2]);
  t.match(
    await runProgram(
      `
        import { copyFileSync } from 'node:fs';
        import { once } from 'node:events';
        import { Worker } from 'node:worker_threads';
        copyFileSync(process.env.ONE, 'so.so');
        const worker = new Worker(\`
          (async () => {
            const { SoHandle } = await import(process.env.SOSWAP);
            const { copyFileSync, renameSync } = process.getBuiltinModule('node:fs');
            const so = SoHandle.open('./so.so', { increment: { return: 'int32' } });
            so.functions.increment();
            copyFileSync(process.env.TWO, 'new.so');
            renameSync('new.so', 'so.so');
            await so.swap();
            so.functions.increment();
            await so.rollback({ order: 'open-first' });
            process.getBuiltinModule('node:worker_threads').parentPort.postMessage(so.functions.increment());
          })();
        \`, { eval: true });
        const [count] = await once(worker, 'message');
        await worker.terminate();
        process.stdout.write(String(count));
      `,
      {
        cwd: t.testdir({ so: '' }),
        env: {
          SOSWAP: import.meta.resolve('soswap'),
          ONE: join(directory, 'so1.so'),
          TWO: join(directory, 'so2.so'),
        },
      },
    ),
    { ...exitedCleanly, stdout: '3' },
  );
});

t.test('each hook runs once, however the handle ends', async (t) => {
  const ends: Record<string, string> = {
    'close()': 'so.close(); so.close();',
    'nothing else': '',
    'process.exit()': 'process.exit();',
    'an uncaught error':
      "process.exitCode = 0; process.on('uncaughtException', () => process.exit(0)); throw new Error();",
    'the end of a worker': '',
    'the termination of a worker': 'setInterval(() => {}, 1000); postMessage(1);',
  };
  for (const [name, end] of Object.entries(ends)) {
    const log = join(t.testdir({}), 'log');
    const program = `
      import { SoHandle } from 'soswap';
      import { parentPort } from 'node:worker_threads';
      const postMessage = (message) => parentPort.postMessage(message);
      const so = globalThis.so = SoHandle.open(${JSON.stringify(join(directory, 'so1.so'))}, { increment: { return: 'int32' } });
      so.functions.increment();
      so.swapSync({ order: 'open-first' });
      ${end}
    `;
    const isWorker = name.endsWith('worker');
    const whole = isWorker
      ? `
        import { once } from 'node:events';
        import { Worker } from 'node:worker_threads';
        const text = ${JSON.stringify(program)};
        const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(text.replaceAll("'soswap'", JSON.stringify(import.meta.resolve('soswap'))))));
        await once(worker, ${name.includes('termination') ? "'message'" : "'exit'"});
        await worker.terminate();
      `
      : program;
    t.match(
      await runProgram(whole, { cwd: root, env: { SOSWAP_TEST_LOG: log } }),
      exitedCleanly,
      name,
    );
    t.same(
      hooksOf(readFileSync(log, 'utf8').trimEnd().split('\n')),
      ['load 1111', 'save 1111', 'load 1111 with 1 of 1111', 'unload 1111', 'unload 1111'],
      name,
    );
  }
});

t.test('1,000 swaps with state leave nothing behind', async (t) => {
  const campaign = join(root, 'test/campaigns/swaps.js');
  const args = ['--expose-gc', '--max-semi-space-size=1', '--no-opt', '--no-maglev', campaign];
  const ended = await runNode([...args, '--state', '--json', '--swaps', '1000'], { cwd: root });
  t.match(ended, exitedCleanly);
  const samples: { exact: object; rssKiB: number }[] = JSON.parse(ended.stdout);
  t.same(samples.at(-1)?.exact, samples[1]?.exact);
  t.ok((samples.at(-1)?.rssKiB ?? 0) - (samples[1]?.rssKiB ?? 0) < 4000, JSON.stringify(samples));
});
