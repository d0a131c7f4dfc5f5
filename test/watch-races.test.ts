import { once } from 'node:events';
import { copyFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SoHandle } from 'soswap';
import t from 'tap';
import { buildIdOf, compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { Gate } from '../fixtures/gate.js';
import { shell } from '../fixtures/replacement-tools.js';
import { soon, until } from '../fixtures/until.js';
import { versionOf, Watched, Witness } from '../fixtures/watched.js';

const directory = t.testdir({ witness: {} });
const builds = twoBuilds(directory);
const witness = new Witness(builds, join(directory, 'witness'));

t.test('a watch that begins while the file is missing swaps when it comes', async (t) => {
  const { so: path, two } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path, versionOf);
  const events: unknown[] = [];
  so.on('swap', ({ generation }) => events.push(generation));
  so.on('refused', ({ code }) => events.push(code));
  unlinkSync(path);
  using _watch = so.watch({ settle: 10, persistent: true });
  await witness.passed();
  t.same(events, []);
  const swapped = once(so, 'swap', soon());
  renameSync(two, path);
  await swapped;
  t.same(events, [2]);
  t.equal(so.functions.version?.(), 'build 2222');
  so.close();
});

t.test('a path that becomes a loop of symbolic links is waited for', async (t) => {
  const directory = t.testdir();
  const { so, two } = copyBuilds(builds, directory);
  const watched = new Watched(t, so, 10);
  shell(directory, 'rm so.so; ln -s so.so other.so; ln -s other.so so.so');
  await witness.passed();
  t.same(watched.events, []);
  t.equal(watched.line, 1111);
  renameSync(two, join(directory, 'other.so'));
  await watched.told(1);
  t.same(watched.events, [2]);
  t.equal(watched.line, 2222);
});

t.test(
  'a directory of the path may be moved away and back, replaced by a file, and by a link',
  async (t) => {
    const directory = t.testdir();
    copyBuilds(builds, directory);
    shell(directory, 'mkdir -p a/b v2/b; cp so1.so a/b/so.so; cp so2.so v2/b/so.so');
    const watched = new Watched(t, join(directory, 'a/b/so.so'), 10);
    shell(directory, 'mv a away');
    await witness.passed();
    shell(directory, 'mv away a');
    await witness.passed();
    t.same(watched.events, [], 'it is the same file');
    shell(directory, 'mv a away; echo text > a');
    await witness.passed();
    shell(directory, 'rm a; ln -s v2 a');
    await watched.told(1);
    t.equal(watched.line, 2222);
    shell(directory, 'cp so1.so v2/b/so.so');
    await watched.told(2);
    shell(directory, 'rm a; mv away a');
    await witness.passed();
    t.same(watched.events, [2, 3], 'it has the same bytes');
    shell(directory, 'cp so2.so a/b/so.so');
    await watched.told(3);
    t.equal(watched.line, 2222);
    await witness.passed();
    t.same(watched.events, [2, 3, 4]);
  },
);

t.test('a library in a directory of its own name', async (t) => {
  const directory = t.testdir({ 'so.so': {} });
  const path = join(directory, 'so.so/so.so');
  copyFileSync(builds.one, path);
  const watched = new Watched(t, path, 10);
  for (const [index, build] of [builds.two, builds.one, builds.two].entries()) {
    shell(directory, `cp '${build}' so.so/next; mv so.so/next so.so/so.so`);
    await watched.told(index + 1);
  }
  t.equal(watched.line, 2222);
});

for (const event of ['swap', 'refused'] as const) {
  t.test(`a listener to '${event}' may close the handle`, async (t) => {
    const { so: path, two } = copyBuilds(builds, t.testdir());
    const so = SoHandle.open(path, versionOf);
    using _watch = so.watch({ settle: 10, persistent: true });
    const { version } = so.functions;
    let told = 0;
    so.on(event, () => {
      told++;
      so.close();
    });
    if (event === 'swap') copyFileSync(two, path);
    else writeFileSync(path, 'rubbish');
    await until('the handle is closed', () => so.closed);
    copyFileSync(two, path);
    await witness.passed();
    t.equal(told, 1);
    t.throws(() => version?.(), { code: 'ERR_SOSWAP_CLOSED' });
  });
}

t.test('two watches of one handle swap once for each replacement', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(t, path, 10);
  const other = watched.so.watch({ settle: 20, persistent: true });
  copyFileSync(two, path);
  await watched.told(1);
  await witness.passed();
  t.same(watched.events, [2]);
  writeFileSync(path, 'rubbish');
  await witness.passed();
  const refusals = ['ERR_SOSWAP_NOT_ELF', 'ERR_SOSWAP_NOT_ELF']; // one by each
  t.same(watched.events, [2, ...refusals]);
  other.close();
  copyFileSync(one, path);
  await watched.told(4);
  await witness.passed();
  t.same(watched.events, [2, ...refusals, 3]);
});

t.test('swaps by hand and by the watch: one for each replacement', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const watched = new Watched(t, path, 5);
  const { so, events } = watched;
  let wanted = 0;
  for (let round = 0; round < 40; round++) {
    const build = round % 2 === 0 ? two : one;
    shell(join(path, '..'), `cp '${build}' next; mv next so.so`);
    wanted++;
    // At any time: before the watch sees it, while it swaps, and after that.
    await sleep((round % 10) * 2);
    if (so.status() !== 'current') await so.swap();
    await watched.told(wanted);
    t.equal(so.image?.buildId, buildIdOf(path));
    const extra = events.length - wanted;
    // A swap by hand that lines up behind that of the watch takes the same file once more.
    t.ok(extra <= 1, `round ${round}: ${extra}`);
    wanted += extra;
  }
  const { length } = events;
  await witness.passed();
  t.equal(events.length, length, 'the watch makes none of its own after one by hand');
  t.notOk(
    events.some((event) => typeof event === 'string'),
    'nothing was refused',
  );
  so.close();
});

t.test('swapSync() while the watch reads the file leaves nothing to swap', async (t) => {
  const { so: path, one, two } = copyBuilds(builds, t.testdir());
  const { so } = new Watched(t, path, 1);
  const ids: unknown[] = [];
  so.on('swap', ({ current }) => ids.push(current.buildId));
  let byHand = 0;
  for (let round = 0; round < 60; round++) {
    // As many bytes, so that they must be compared.
    copyFileSync(round % 2 === 0 ? two : one, path);
    await sleep(round % 6);
    if (so.status() === 'current') continue;
    try {
      so.swapSync();
      byHand++;
    } catch (error) {
      t.match(error, { code: /BUSY|BEING_WRITTEN/ });
    }
    await until('the file is the current one', () => so.status() === 'current');
  }
  await witness.passed();
  t.ok(byHand > 0, `${byHand} by hand`);
  t.ok(
    ids.every((id, index) => id !== ids[index - 1]),
    'no build was swapped for itself',
  );
  so.close();
});

t.test('a call that takes long is waited for, with no refusal', async (t) => {
  const directory = t.testdir();
  const path = compile('gate.c', join(directory, 'gate.so'), '-DLINE=1111');
  const next = compile('gate.c', join(directory, 'next.so'), '-DLINE=2222');
  const so = SoHandle.open(path, {
    pass: { arguments: ['buffer'], return: 'int32', nonblocking: true },
    version: { return: 'string' },
  });
  const events: unknown[] = [];
  so.on('swap', ({ generation }) => events.push(generation));
  so.on('refused', ({ code }) => events.push(code));
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  let attempts = 0;
  const verify = () => {
    attempts++;
  };
  using _watch = so.watch({ settle: 5, persistent: true, swap: { timeout: 20, verify } });
  renameSync(next, path);
  await until('the watch has tried three times', () => attempts >= 3);
  t.same(events, []);
  t.equal(so.functions.version(), 'build 1111');
  const swapped = once(so, 'swap', soon());
  gate.open();
  t.equal(await call, 1111);
  await swapped;
  t.same(events, [2]);
  t.equal(so.functions.version(), 'build 2222');
  so.close();
});

const triggers = {
  'a watch': "process.on('SIGHUP', () => {}); so.watch({ settle: 10 });",
  'a signal': "swapOnSignal('SIGHUP');",
};
for (const [what, trigger] of Object.entries(triggers)) {
  t.test(`a refusal that nobody listens to is a warning, caused by ${what}`, async (t) => {
    const cwd = t.testdir();
    const program = (listen: string) => `
      import { subscribe } from 'node:diagnostics_channel';
      import { writeFileSync } from 'node:fs';
      import { SoHandle, swapOnSignal } from 'soswap';
      const so = SoHandle.open('./so.so');
      const running = setInterval(() => {}, 1000);
      const end = () => {
        clearInterval(running);
        so.close();
      };
      process.on('warning', ({ code, message }) => {
        process.send(code ?? message);
        end();
      });
      // Comes after a warning that must not come.
      const heard = () => setImmediate(() => process.emitWarning('the only one'));
      ${listen}
      ${trigger}
      writeFileSync('so.so', 'rubbish');
      process.kill(process.pid, 'SIGHUP');
    `;
    for (const [listen, warning] of [
      ['', 'ERR_SOSWAP_NOT_ELF'],
      ["so.on('refused', heard);", 'the only one'],
      ["subscribe('soswap:refused', heard);", 'the only one'],
    ] as const) {
      copyBuilds(builds, cwd);
      const ended = await runProgram(program(listen), { cwd }, '--no-warnings');
      t.match(ended, exitedCleanly);
      t.same(ended.messages, [warning], listen);
    }
  });
}

t.test('a link that leads through the file itself', async (t) => {
  const directory = t.testdir();
  const { so, two } = copyBuilds(builds, directory);
  symlinkSync('so.so', join(directory, 'link.so'));
  const both = [new Watched(t, so, 10), new Watched(t, join(directory, 'link.so'), 10)];
  renameSync(two, so);
  await Promise.all(both.map((each) => each.told(1)));
});
