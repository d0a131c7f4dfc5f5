import { tracingChannel } from 'node:diagnostics_channel';
import { copyFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { SoHandle, type SwapTrace, swapAll } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { until } from '../fixtures/until.js';

const builds = twoBuilds(t.testdir());

/** What the channel publishes while `run` runs. */
async function tracesOf(run: () => unknown): Promise<[string, SwapTrace][]> {
  const events: [string, SwapTrace][] = [];
  const channel = tracingChannel<unknown, SwapTrace>('soswap:swap');
  const listen =
    (name: string) =>
    (trace: SwapTrace): void =>
      void events.push([name, trace]);
  const listeners = {
    start: listen('start'),
    end: listen('end'),
    asyncStart: listen('asyncStart'),
    asyncEnd: listen('asyncEnd'),
    error: listen('error'),
  };
  channel.subscribe(listeners);
  await run();
  channel.unsubscribe(listeners);
  return events;
}

const names = (events: [string, SwapTrace][]) => events.map(([name]) => name).join(' ');

t.test('each swap is a trace of diagnostics_channel', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path);
  const whole = 'start end asyncStart asyncEnd';

  const swap = await tracesOf(() => so.swap());
  t.equal(names(swap), whole);
  const [[, trace] = []] = swap;
  t.equal(trace?.handles[0], so);
  t.match(trace, { operation: 'swap', paths: [path], result: { generation: 2 } });
  t.ok(
    swap.every(([, each]) => each === trace),
    'one object for all events of a swap',
  );

  const sync = await tracesOf(() => so.swapSync());
  t.equal(names(sync), 'start end');
  t.match(sync[0]?.[1], { operation: 'swapSync', result: { generation: 3 } });

  const all = await tracesOf(() => swapAll([so as never]));
  t.match(all[0]?.[1], { operation: 'swapAll', paths: [path], result: [{ generation: 4 }] });

  const steps = await tracesOf(async () => (await so.prepare()).commit());
  t.equal(names(steps), `${whole} ${whole}`);
  t.match(steps[0]?.[1], { operation: 'prepare', result: { stale: true } });
  t.match(steps[4]?.[1], { operation: 'commit', result: { generation: 5 } });

  t.same(await tracesOf(() => so.swap({ ifChanged: true })), [], 'there was no swap');

  const watched = await tracesOf(async () => {
    using _watch = so.watch({ settle: 1 });
    copyFileSync(two, path);
    await until('it is swapped', () => so.generation === 6);
    await until('it has ended', () => so.status() === 'current');
  });
  t.match(watched[0], ['start', { operation: 'watch', paths: [path] }]);

  writeFileSync(path, 'rubbish');
  const refused = { operation: 'swap', error: { code: 'ERR_SOSWAP_NOT_ELF' } };
  const failed = await tracesOf(() => so.swap().catch(() => {}));
  t.equal(names(failed), 'start end error asyncStart asyncEnd');
  t.match(failed[0]?.[1], refused);
  const thrown = await tracesOf(() => t.throws(() => so.swapSync()));
  t.equal(names(thrown), 'start error end');
  so.close();
});

t.test('console.log() of a handle shows path, generation and status', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  for (const file of [path, one]) truncateSync(file, 100e6);
  const so = SoHandle.open(path, { count: { return: 'int32' } }, { debugInfo: true });
  const shown = (status: string) =>
    new RegExp(
      `^SoHandle \\{\\s+path: '${path}',\\s+generation: 1,\\s+status: '${status}'\\s+\\}$`,
    );
  t.match(inspect(so), shown('current'));
  t.match(inspect({ so }, { breakLength: Infinity }), /so: SoHandle \{ path: /);
  renameSync(one, path);
  const began = performance.now();
  t.match(inspect(so), shown('not compared'));
  t.ok(performance.now() - began < 50, 'it reads no library of 100 MB');
  copyFileSync(two, path);
  t.match(inspect(so), shown('replaced'));
  rmSync(path);
  t.match(inspect(so), shown('missing'));
  so.close();
  t.match(inspect(so), shown('closed'));
});

t.test('a watch emits missing when the file goes, once each time', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path);
  const missing: string[] = [];
  so.on('missing', (gone) => missing.push(gone));
  so.watch({ settle: 5 });
  rmSync(path);
  await until('it is missed', () => missing.length === 1);
  t.equal(so.generation, 1, 'the image runs on');
  copyFileSync(two, path);
  await until('it is swapped', () => so.generation === 2);
  rmSync(path);
  await until('it is missed again', () => missing.length === 2);
  t.same(missing, [path, path]);
  so.close();
});
