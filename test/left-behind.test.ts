import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { crashSignals, exitedCleanly, importUntil, runProgram } from '../fixtures/child.js';

const directory = t.testdir();
const [one, two] = [1111, 2222].map((line) =>
  compile('left-behind.c', join(directory, `so${line}.so`), `-DLINE=${line}`),
) as [string, string];

/** Swaps so.so, with the new image at another address, between `before` and `after`. */
function run(cwd: string, before: string, after: string, options = '{}') {
  copyFileSync(one, join(cwd, 'so.so'));
  copyFileSync(two, join(cwd, 'so2.so'));
  const program = `
    import { renameSync } from 'node:fs';
    import koffi from 'koffi';
    import { loaded, SoHandle } from 'soswap';
    import * as dl from 'soswap/dl';
    ${importUntil}

    const so = SoHandle.open('./so.so', {
      install_handler: {},
      remove_handler: {},
      apply: { arguments: ['function', 'float64'], return: 'float64' },
    });
    const raise = () => process.kill(process.pid, 'SIGUSR2');
    const addressed = (symbol) => dl.functionAt(so.getSymbol(symbol), { return: 'int32' });
    ${before}
    renameSync('so2.so', 'so.so');
    const { unmapped } = await so.swap({ order: 'open-first', ...${options} });
    process.send(unmapped);
    ${after}
    so.close();
  `;
  return runProgram(program, { cwd });
}

t.test('an address of the old image is dead', async (t) => {
  const ended = await run(t.testdir(), "const answer = addressed('answer');", 'answer();');
  t.match(ended, { code: null, messages: [true] });
  t.ok(crashSignals.includes(ended.signal), `killed by ${ended.signal}`);
});

t.test('an address that was asked for after the swap is not', async (t) => {
  const ended = await run(t.testdir(), '', "process.send(addressed('answer')());");
  t.match(ended, { ...exitedCleanly, messages: [true, 2222] });
});

t.test('a signal handler of the old image keeps it, until another one is set', async (t) => {
  const before = `
    let gone = 0;
    so.on('unmapped', () => gone++);
    so.functions.install_handler();
    const handled = addressed('handled');
    const remove = dl.functionAt(so.getSymbol('remove_handler'), {});
  `;
  const after = `
    const reasons = () => loaded().flatMap(({ retained }) => retained);
    process.send(reasons());
    raise();
    await until('the handler has run', () => handled() === 1);
    remove();
    await until('the image is gone', () => gone === 1);
    process.send(reasons());
  `;
  const ended = await run(t.testdir(), before, after);
  const reason = { code: 'signal-handler', detail: /SIGUSR2/ };
  t.match(ended, { ...exitedCleanly, messages: [false, [reason], []] });
});

t.test("with unload: 'always' it kills the process", async (t) => {
  const after = "raise(); await until('the process dies', () => false);";
  const ended = await run(
    t.testdir(),
    'so.functions.install_handler();',
    after,
    "{ unload: 'always' }",
  );
  t.match(ended, { code: null, messages: [true] });
  t.ok(crashSignals.includes(ended.signal), `killed by ${ended.signal}`);
});

t.test("it goes on with unload: 'never'", async (t) => {
  const before = "so.functions.install_handler(); const handled = addressed('handled');";
  const after = "raise(); await until('the handler has run', () => handled() === 1);";
  const ended = await run(t.testdir(), before, after, "{ unload: 'never' }");
  t.match(ended, { ...exitedCleanly, messages: [false] });
});

t.test('it does no harm if the library has removed it before', async (t) => {
  const before = 'so.functions.install_handler(); so.functions.remove_handler();';
  const after = `
    let heard = 0;
    process.on('SIGUSR2', () => heard++);
    raise();
    await until('the program has heard of the signal', () => heard === 1);
  `;
  const ended = await run(t.testdir(), before, after);
  t.match(ended, { ...exitedCleanly, messages: [true] });
});

t.test('a callback of koffi outlives the swap, and an exception in it ends there', async (t) => {
  const callback = (body: string) =>
    `koffi.register(() => ${body}, koffi.pointer(koffi.proto('double (double value)')))`;
  const before = `
    const good = ${callback('41')};
    const bad = ${callback("{ throw new Error('in a callback'); }")};
  `;
  const after = 'process.send([so.functions.apply(good, 1), so.functions.apply(bad, 1)]);';
  const ended = await run(t.testdir(), before, after);
  // What C gets of a callback that threw is not defined.
  t.match(ended, { ...exitedCleanly, messages: [true, [42, Number]] });
});
