import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { copyFileSync, writeFileSync } from 'node:fs';
import { type SoError, SoHandle, type SwapReport } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { soon } from '../fixtures/until.js';

const builds = twoBuilds(t.testdir());

/** What a handle emits, and what is published on the diagnostics channels. */
function listen(t: { teardown(end: () => void): void }, so: SoHandle) {
  const told = { swaps: [] as SwapReport[], refusals: [] as SoError[], channel: [] as unknown[] };
  so.on('swap', (report) => told.swaps.push(report));
  so.on('refused', (error) => told.refusals.push(error));
  const onMessage = (message: unknown, name: string | symbol) => {
    told.channel.push({ name, ...(message as object) });
  };
  for (const name of ['soswap:swap', 'soswap:refused']) {
    subscribe(name, onMessage);
    t.teardown(() => unsubscribe(name, onMessage));
  }
  return told;
}

for (const how of ['swap', 'swapSync'] as const) {
  t.test(`${how}() emits its report and publishes it, once`, async (t) => {
    const { so: path, two } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path);
    const told = listen(t, so);
    copyFileSync(two, path);
    const started = performance.now();
    const report = await so[how]();
    const took = (performance.now() - started) * 1000;
    t.equal(told.swaps.length, 1);
    t.equal(told.swaps[0], report);
    t.equal(told.channel.length, 1);
    const [message] = told.channel as [{ name: string; handle: unknown; report: unknown }];
    t.equal(message.name, 'soswap:swap');
    t.equal(message.handle, so);
    t.equal(message.report, report);

    t.match(report, { path, generation: 2, order: 'close-first', unmapped: true });
    t.ok(report.pauseMicroseconds > 0, `pause ${report.pauseMicroseconds}`);
    t.ok(report.totalMicroseconds >= report.pauseMicroseconds, `${report.totalMicroseconds}`);
    t.ok(report.totalMicroseconds <= took, `${report.totalMicroseconds} of ${took} µs`);
    t.same(told.refusals, []);
    so.close();
  });

  t.test(`${how}() emits its refusal and publishes it, once`, async (t) => {
    const { so: path } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path);
    const told = listen(t, so);
    writeFileSync(path, 'rubbish');
    let thrown: unknown;
    try {
      await so[how]();
    } catch (error) {
      thrown = error;
    }
    t.match(thrown, { code: 'ERR_SOSWAP_NOT_ELF' });
    t.equal(told.refusals.length, 1);
    t.equal(told.refusals[0], thrown);
    t.same(
      told.channel.map((message) => (message as { name: string }).name),
      ['soswap:refused'],
    );
    const [message] = told.channel as [{ handle: unknown; error: unknown }];
    t.equal(message.handle, so);
    t.equal(message.error, thrown);
    t.same(told.swaps, []);
    t.equal(so.generation, 1);
    so.close();
  });

  t.test(`${how}(): the new code runs when the event is emitted`, async (t) => {
    const { so: path, two } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path, { version: { return: 'string' } });
    const seen: unknown[] = [];
    so.on('swap', ({ generation }) => seen.push(generation, so.generation, so.functions.version()));
    copyFileSync(two, path);
    await so[how]();
    t.same(seen, [2, 2, 'build 2222']);
    so.close();
  });
}

t.test('mistakes in arguments are no refusals', async (t) => {
  const so = SoHandle.open(builds.one);
  const told = listen(t, so);
  const wrong = { order: 'last-first' as never };
  t.throws(() => so.swapSync(wrong), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(so.swap(wrong), { code: 'ERR_INVALID_ARG_VALUE' });
  t.same(told, { swaps: [], refusals: [], channel: [] });
  so.close();
});

t.test('a watch emits and publishes the same', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path);
  const told = listen(t, so);
  using _watch = so.watch({ settle: 10, persistent: true });
  copyFileSync(two, path);
  await once(so, 'swap', soon());
  writeFileSync(path, 'rubbish');
  await once(so, 'refused', soon());
  t.match(told, {
    swaps: [{ generation: 2 }],
    refusals: [{ code: 'ERR_SOSWAP_NOT_ELF' }],
    channel: [
      { name: 'soswap:swap', report: { generation: 2, totalMicroseconds: Number } },
      { name: 'soswap:refused', error: { code: 'ERR_SOSWAP_NOT_ELF' } },
    ],
  });
  so.close();
});

for (const how of ['swap', 'swapSync']) {
  t.test(`${how}() takes effect although listeners and subscribers throw`, async (t) => {
    const cwd = t.testdir();
    copyBuilds(builds, cwd);
    const program = `
      import { subscribe } from 'node:diagnostics_channel';
      import { copyFileSync, writeFileSync } from 'node:fs';
      import { setImmediate as turn } from 'node:timers/promises';
      import { SoHandle } from 'soswap';
      const so = SoHandle.open('./so.so', { version: { return: 'string' } });
      const thrown = [];
      process.on('uncaughtException', ({ message }) => thrown.push(message));
      for (const event of ['swap', 'refused']) {
        so.on(event, () => { throw new Error('listener of ' + event); });
        subscribe('soswap:' + event, () => { throw new Error('subscriber of ' + event); });
      }
      copyFileSync('so2.so', 'so.so');
      const { generation } = await so.${how}();
      process.send([generation, so.functions.version()]);
      writeFileSync('so.so', 'rubbish');
      try {
        await so.${how}();
      } catch ({ code }) {
        process.send(code);
      }
      await turn();
      process.send(thrown);
      copyFileSync('so1.so', 'so.so');
      await so.${how}();
      process.send(so.functions.version());
      so.close();
    `;
    t.match(await runProgram(program, { cwd }), {
      ...exitedCleanly,
      messages: [
        [2, 'build 2222'],
        'ERR_SOSWAP_NOT_ELF',
        ['subscriber of swap', 'listener of swap', 'subscriber of refused', 'listener of refused'],
        'build 1111',
      ],
    });
  });
}

t.test('what a listener throws ends a process that does not catch it', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `
    import { SoHandle } from 'soswap';
    const so = SoHandle.open('./so.so');
    so.on('swap', () => { throw new Error('of the listener'); });
    await so.swap();
  `;
  t.match(await runProgram(program, { cwd }), { code: 1, signal: null, stderr: /of the listener/ });
});
