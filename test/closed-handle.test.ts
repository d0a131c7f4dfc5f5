import { SoHandle } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';

const builds = twoBuilds(t.testdir());
const definitions = { action: { return: 'int32' }, count: { return: 'int32' } } as const;
const closed = { name: 'SoError', code: 'ERR_SOSWAP_CLOSED', path: builds.one };

t.test('a bound function of a closed handle throws', async (t) => {
  const so = SoHandle.open(builds.one, definitions);
  const { count } = so.functions;
  const late = so.getFunction('version', { return: 'string' });
  t.equal(late(), 'build 1111');
  so.close();
  t.throws(() => count(), { ...closed, symbol: 'count' });
  t.throws(() => late(), { ...closed, symbol: 'version' });
  t.throws(() => so.functions.count(), closed, 'from the handle as well');
});

t.test('a nonblocking function of a closed handle rejects', async (t) => {
  const so = SoHandle.open(builds.one, { count: { return: 'int32', nonblocking: true } });
  const { count } = so.functions;
  t.equal(await count(), 1);
  so.close();
  await t.rejects(count(), { ...closed, symbol: 'count' });
});

t.test('every method of a closed handle but close() throws', async (t) => {
  const so = SoHandle.open(builds.one, definitions);
  so.close();
  t.throws(() => so.swapSync(), closed);
  await t.rejects(so.swap(), closed);
  t.throws(() => so.getFunction('version', { return: 'string' }), closed);
  t.throws(() => so.getSymbol('count'), closed);
  t.throws(() => so.status(), closed);
});

t.test('a closed handle still has its path and generation', async (t) => {
  const so = SoHandle.open(builds.one, definitions);
  t.equal(so.closed, false);
  so.swapSync();
  so.close();
  t.match(so, { closed: true, path: builds.one, generation: 2, image: null });
});

t.test('a second close() does nothing', async (t) => {
  const so = SoHandle.open(builds.one, definitions);
  const other = SoHandle.open(builds.one, definitions);
  other.functions.count();
  so.close();
  so.close();
  so[Symbol.dispose]();
  t.equal(other.functions.count(), 2, 'another handle of the same file lives on');
  other.close();
});

t.test('a swap that waits for its turn is refused when the handle is closed', async (t) => {
  const so = SoHandle.open(builds.one, definitions);
  const swaps = [so.swap(), so.swap()];
  so.close();
  for (const swap of swaps) await t.rejects(swap, closed);
  t.equal(so.closed, true);
});

t.test('the library is unmapped by close(), and by the end of a scope', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `
    import { readFileSync } from 'node:fs';
    import { SoHandle } from 'soswap';
    const isMapped = (base) => readFileSync('/proc/self/maps', 'utf8').includes(base.toString(16) + '-');
    const closed = SoHandle.open('./so.so');
    const disposed = SoHandle.open('./so.so');
    const kept = SoHandle.open('./so.so');
    const bases = [closed, disposed, kept].map(({ image }) => image.base);
    process.send(bases.map(isMapped));
    closed.close();
    disposed[Symbol.dispose]();
    process.send(bases.map(isMapped));
  `;
  const ended = await runProgram(program, { cwd });
  t.match(ended, exitedCleanly);
  t.same(ended.messages, [
    [true, true, true],
    [false, false, true],
  ]);
});
