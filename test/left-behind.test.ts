import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { crashSignals, exitedCleanly, runProgram } from '../fixtures/child.js';

/** Swaps so.so, with the new image at another address, and then does `after`. */
function run(directory: string, before: string, after: string, options = '{}') {
  const one = compile('left-behind.c', join(directory, 'so1.so'), '-DLINE=1111');
  compile('left-behind.c', join(directory, 'so2.so'), '-DLINE=2222');
  copyFileSync(one, join(directory, 'so.so'));
  const program = `
    import { renameSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    import koffi from 'koffi';
    import { SoHandle } from 'soswap';
    import * as dl from 'soswap/dl';

    const so = SoHandle.open('./so.so', {
      install_handler: {},
      remove_handler: {},
      apply: { arguments: ['function', 'float64'], return: 'float64' },
    });
    ${before}
    renameSync('so2.so', 'so.so');
    const { unmapped } = await so.swap({ order: 'open-first', ...${options} });
    process.send(unmapped);
    ${after}
    so.close();
  `;
  return runProgram(program, { cwd: directory });
}

const raise = `
  process.kill(process.pid, 'SIGUSR2');
  await sleep(10);
`;
const answer = "const answer = dl.functionAt(so.getSymbol('answer'), { return: 'int32' });";

t.test('an address of the old image is dead', async (t) => {
  const ended = await run(t.testdir(), answer, 'answer();');
  t.match(ended, { code: null, messages: [true] });
  t.ok(crashSignals.includes(ended.signal), `killed by ${ended.signal}`);
});

t.test('an address that was asked for after the swap is not', async (t) => {
  const ended = await run(t.testdir(), '', `${answer} process.send(answer());`);
  t.match(ended, { ...exitedCleanly, messages: [true, 2222] });
});

t.test('a signal handler of the old image kills the process', async (t) => {
  const ended = await run(t.testdir(), 'so.functions.install_handler();', raise);
  t.match(ended, { code: null, messages: [true] });
  t.ok(crashSignals.includes(ended.signal), `killed by ${ended.signal}`);
});

t.test("it does no harm with unload: 'never'", async (t) => {
  const before = 'so.functions.install_handler();';
  const ended = await run(t.testdir(), before, raise, "{ unload: 'never' }");
  t.match(ended, { ...exitedCleanly, messages: [false] });
});

t.test('it does no harm if the library has removed it before', async (t) => {
  const before = 'so.functions.install_handler(); so.functions.remove_handler();';
  const ended = await run(t.testdir(), before, `process.on('SIGUSR2', () => {});${raise}`);
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
  t.match(ended, { ...exitedCleanly, messages: [true, [42, 1]] });
});
