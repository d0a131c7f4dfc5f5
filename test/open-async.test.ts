import { copyFileSync, existsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Definitions, loaded, SoHandle } from 'soswap';
import t from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { until } from '../fixtures/until.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const loading = compile('loading-thread.c', join(directory, 'loading.so'));
const definitions = {
  count: { return: 'int32' },
  extra: { return: 'int32', optional: true },
  version: { return: 'string' },
} as const satisfies Definitions;

t.test('openAsync() opens as open() does', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = await SoHandle.openAsync(path, definitions);
  const { count, extra, version } = so.functions;
  const text: string | null = version();
  t.same([so.generation, text, count(), extra], [1, 'build 1111', 1, null]);
  t.match(loaded(), [{ path, generation: 1, state: 'live' }]);
  copyFileSync(two, path);
  t.match(await so.swap(), { generation: 2, unmapped: true });
  t.equal(version(), 'build 2222');
  t.match(so.close(), { unmapped: true });
});

t.test('the library is loaded on another thread, unless told otherwise', async (t) => {
  const on = async (options: object) => {
    const so = await SoHandle.openAsync(loading, { loaded_on: { return: 'int32' } }, options);
    const thread = so.functions.loaded_on();
    so.close();
    return thread;
  };
  t.not(await on({}), process.pid);
  t.not(await on({ image: 'direct' }), process.pid);
  t.equal(await on({ loadOn: 'main' }), process.pid);
});

t.test(
  'the JavaScript thread goes on while a constructor runs, and does not wait for ever',
  async (t) => {
    const gate = `${directory}/gate`;
    process.env.SOSWAP_TEST_GATE = gate;
    const opening = SoHandle.openAsync(loading);
    await until('the constructor has begun', () => existsSync(`${gate}.arrived`));
    writeFileSync(gate, '');
    (await opening).close();

    process.env.SOSWAP_TEST_GATE = `${gate}2`;
    const late = SoHandle.openAsync(loading, {}, { timeout: 0 });
    await t.rejects(late, { code: 'ERR_SOSWAP_LOADER', message: /1000 ms/ });
    writeFileSync(`${gate}2`, '');
    delete process.env.SOSWAP_TEST_GATE;
    const open = () => SoHandle.openAsync(loading);
    await until('the loader is free', () =>
      open().then(
        (so) => so.close(),
        () => false,
      ),
    );
    await until('the image that came too late is gone', () => loaded().length === 0);
  },
);

t.test('what open() refuses, openAsync() refuses, and nothing stays', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const missing = { code: 'ERR_SOSWAP_MISSING_SYMBOL', symbol: 'absent' };
  await t.rejects(SoHandle.openAsync(path, { absent: {} }), missing);
  await t.rejects(SoHandle.openAsync(`${path}.absent`), { code: 'ERR_SOSWAP_NOT_FOUND' });
  truncateSync(path, 2000);
  await t.rejects(SoHandle.openAsync(path), { code: 'ERR_SOSWAP_TRUNCATED' });
  await t.rejects(SoHandle.openAsync(loading, {}, { loadOn: 'main', timeout: 1 }), {
    code: 'ERR_INVALID_ARG_VALUE',
  });
  await t.rejects(SoHandle.openAsync(loading, [] as never), { code: 'ERR_INVALID_ARG_TYPE' });
  t.same(loaded(), []);
});

t.test('handles may be opened at once, of one library too', async (t) => {
  const opened = await Promise.all(
    Array.from({ length: 8 }, () => SoHandle.openAsync(builds.one, definitions)),
  );
  for (const so of opened) t.equal(so.functions.count(), 1, 'an image of its own');
  for (const so of opened) so.close();
  t.same(loaded(), []);
});
