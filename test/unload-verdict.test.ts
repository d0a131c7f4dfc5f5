import { join } from 'node:path';
import { inspect, type UnloadVerdict } from 'soswap';
import t from 'tap';
import { compile, compileAction } from '../fixtures/build.js';
import { crashSignals, importUntil, runProgram } from '../fixtures/child.js';
import { cannotCompile, causes, compileCause } from '../fixtures/retain.js';
import { codesOf, plainProgram, proveHandle, provePlain } from '../fixtures/unload-proof.js';

// What inspect() says of unloading, and what then happens.

const directory = t.testdir();

/** The causes that the file itself shows; that others need it, it does not. */
const ownCauses = causes.filter(
  ({ retained: { auto }, options }) => auto !== 'needed-by' && options === undefined,
);

const beginnings: Readonly<Record<UnloadVerdict['outcome'], RegExp>> = {
  clean: /unmap/,
  'stays-mapped': /stays mapped .*\w \w/,
  'may-crash': /crash .*\w \w/,
  refused: /cannot load .*\w \w/,
};

const touch = `
  call('version', { return: 'string' })();
  call('count', { return: 'int32' })();
`;

for (const cause of ownCauses) {
  t.test(`the verdict of ${cause.name}`, { skip: cannotCompile(cause) }, async (t) => {
    const path = compileCause(cause, join(directory, `${causes.indexOf(cause)}.so`), 1111);
    const { auto } = cause.retained;
    const isSeen = cause.whenItRuns ?? false;
    const info = inspect(path);

    const plain = await provePlain(path, touch);
    const handle = await proveHandle(path, {}, `${touch}${isSeen ? cause.before : ''}`);
    t.equal(handle.stays, auto !== undefined, 'what SoHandle does');
    const isTracked = isSeen || cause.crashes !== undefined;
    t.equal(info.unload.outcome === 'clean', isTracked || auto === undefined, info.unload.outcome);
    if (isTracked) t.equal(info.unload.verdict, 'unmaps when its threads have ended');
    if (auto !== undefined && !isTracked) {
      t.ok(codesOf(info, 'unload').includes(auto), `${codesOf(info, 'unload')} has ${auto}`);
      t.ok(handle.retained.includes(auto), `${handle.retained} has ${auto}`);
    }
    if (plain.stays) t.not(info.plain.outcome, 'clean', 'dlclose(3) leaves it mapped');
    if (info.plain.outcome === 'clean') t.equal(plain.stays, false);
    if (info.plain.outcome === 'stays-mapped') t.equal(plain.stays, true);
    for (const { code, cure } of [...info.plain.reasons, ...info.unload.reasons]) {
      if (info.flags.includes('go'))
        t.equal(cure, undefined, `nothing helps against ${code} of Go`);
      else t.match(cure, /\w+ \w+/, code);
    }
    t.match(info.unload.verdict, beginnings[info.unload.outcome]);
    t.match(info.plain.verdict, beginnings[info.plain.outcome]);
    if (!cause.crashes) return;
    t.equal(info.plain.outcome, 'may-crash');
    if (cause.inWorker) return; // test/retained.test.ts lets a worker end
    const dies = `
      ${importUntil}
      ${plainProgram(path, `${touch}${cause.before ?? ''}`)}
      await until('the process dies', () => false);
    `;
    const { code, signal } = await runProgram(dies, { cwd: directory });
    t.equal(code, null);
    t.ok(crashSignals.includes(signal), `dlclose(3) under its thread: ${signal}`);
  });
}

t.test('GNU_UNIQUE symbols matter to dlclose(3), and not to SoHandle', async (t) => {
  const path = join(directory, 'unique.so');
  compile('retain/unique-symbol.cc', path, '-DLINE=1111');
  t.match(inspect(path), {
    plain: {
      outcome: 'stays-mapped',
      verdict: /STB_GNU_UNIQUE/,
      reasons: [{ code: 'unique-symbol', effect: 'stays-mapped', cure: /-fno-gnu-unique/ }],
    },
    unload: { outcome: 'clean', reasons: [] },
  });
  compile('retain/unique-symbol.cc', path, '-DLINE=1111', '-fno-gnu-unique');
  t.match(inspect(path).plain, { outcome: 'clean' }, 'the cure helps');
});

t.test('a library that is linked with -z nodelete stays mapped', async (t) => {
  const path = compileAction(join(directory, 'nodelete.so'), 1111, '-Wl,-z,nodelete');
  const reasons = [{ code: 'nodelete', cure: /-z nodelete/ }];
  const verdict = { outcome: 'stays-mapped', verdict: /-z nodelete/, reasons };
  t.match(inspect(path), { flags: ['nodelete'], plain: verdict, unload: verdict });
  t.match(await proveHandle(path, { unload: 'always' }), { stays: false }, 'the cure helps');
});
