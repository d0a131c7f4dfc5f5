import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, importHeld, root, runNode } from '../fixtures/child.js';
import { gateProgram, storages } from '../fixtures/gate-program.js';

const directory = t.testdir();
const builds = twoBuilds(directory, 'gate.c');
const begin = (path: string) => gateProgram(builds, path);

// The same in long: see there.
const campaign = fileURLToPath(new URL('campaigns/workers.js', import.meta.url));

for (const [storage, env] of Object.entries(storages)) {
  t.test(`workers swap one path, each for itself, copies ${storage}`, async (t) => {
    const args = ['--expose-gc', campaign, '--workers', '4', '--swaps', '50', '--json'];
    const ended = await runNode(args, { cwd: root, env });
    t.match(ended, exitedCleanly);
    const figures = JSON.parse(ended.stdout);
    t.match(figures, { workers: 4, swaps: 200, unmapped: 200 });
    t.same(figures.after, figures.before, 'nothing is left');
    t.ok(figures.swapped > 50, `${figures.swapped} swaps changed the code`);
  });
}

/** What a worker is doing when it is ended; it says when it has begun. */
const activities: Record<string, string> = {
  'blocking calls': `
    parentPort.postMessage('begun');
    for (;;) so.functions.count();
  `,
  'swapSync()': `
    parentPort.postMessage('begun');
    for (let round = 0; ; round++) {
      replace(round);
      so.swapSync({ order: round % 3 === 0 ? 'open-first' : 'close-first' });
      so.functions.count();
    }
  `,
  'swap() with calls in flight': `
    const gate = newGate();
    open(gate);
    parentPort.postMessage('begun');
    for (let round = 0; ; round++) {
      replace(round);
      for (let call = 0; call < 6; call++) so.functions.pass(gate).catch(() => {});
      await so.swap({ order: round % 3 === 0 ? 'open-first' : 'close-first' });
    }
  `,
  'swaps with verify()': `
    parentPort.postMessage('begun');
    for (let round = 0; ; round++) {
      replace(round);
      await so.swap({ verify: async ({ version }) => { await nextTurn(); version(); } });
      so.swapSync({ verify: ({ version }) => { version(); } });
    }
  `,
  'swaps with quarantine': `
    parentPort.postMessage('begun');
    for (let round = 0; ; round++) {
      replace(round);
      // A child process that is about to call execve(2) may have what the other worker was writing.
      await so.swap({ quarantine: true }).catch((error) => {
        if (error.code !== 'ERR_SOSWAP_BEING_WRITTEN') throw error;
      });
    }
  `,
  'install()': `
    parentPort.postMessage('begun');
    for (;;) await Promise.all([...builds, ...builds].map((build) => install(build, path)));
  `,
};
for (const [activity, text] of Object.entries(activities)) {
  t.test(`a worker is terminated in the middle of ${activity}`, async (t) => {
    const cwd = t.testdir();
    const temporary = `${cwd}/tmp`;
    mkdirSync(temporary);
    const program = `
      ${begin(`${cwd}/so.so`)}
      if (!isMainThread) {
        const so = SoHandle.open(path, definitions);
        ${text}
      }
      ${importHeld}
      replace(0);
      const first = SoHandle.open(path, definitions);
      await first.swap({ order: 'open-first' });
      first.close();
      await startPool();
      // With the last handle goes what is kept for its next swap.
      const gone = () => until('the private copies are gone', () => !holdsCopies());
      await gone();
      const before = held();
      const so = SoHandle.open(path, definitions);
      for (let round = 0; round < 6; round++) {
        const workers = [1, 2].map(() => new Worker('./program.mjs', { execArgv: [] }));
        await Promise.all(workers.map((worker) => once(worker, 'message')));
        for (let turn = 0; turn < 100 * round; turn++) await nextTurn();
        await Promise.all(workers.map((worker) => worker.terminate()));
      }
      replace(1);
      so.swapSync();
      const seen = [so.functions.version(), loaded().length];
      so.close();
      await gone();
      process.send([...seen, before, held()]);
    `;
    writeFileSync(`${cwd}/program.mjs`, program);
    const ended = await runNode(['program.mjs'], { cwd, env: { TMPDIR: temporary } });
    t.match(ended, exitedCleanly);
    const [[version, images, before, after]] = ended.messages as [unknown[]];
    t.same([version, images], ['build 2222', 1]);
    t.same(after, before, 'nothing is left');
    t.same(readdirSync(temporary), []);
  });
}

t.test('a worker is terminated while a call of it waits in native code', async (t) => {
  const cwd = t.testdir();
  const program = `
    ${begin(`${cwd}/so.so`)}
    if (isMainThread) {
      replace(0);
      for (const state of ['call', 'close-first', 'open-first']) {
        const worker = new Worker('./program.mjs', { execArgv: [], argv: [state] });
        const [gate] = await once(worker, 'message');
        await arrival(gate);
        const ended = worker.terminate();
        await nextTurn();
        open(gate); // the thread of the pool cannot be ended
        await ended;
      }
      process.send(loaded().length);
    } else {
      const so = SoHandle.open(path, definitions);
      const gate = newGate();
      const state = process.argv[2];
      so.functions.pass(gate).catch(() => {});
      await arrival(gate);
      if (state !== 'call') {
        so.swap({ order: state }).catch(() => {});
        so.functions.pass(gate).catch(() => {});
      }
      if (state === 'open-first') await until('it is swapped', () => so.generation === 2);
      parentPort.postMessage(gate);
      setInterval(() => {}, 1000);
    }
  `;
  writeFileSync(`${cwd}/program.mjs`, program);
  t.match(await runNode(['program.mjs'], { cwd }), { ...exitedCleanly, messages: [0] });
});
