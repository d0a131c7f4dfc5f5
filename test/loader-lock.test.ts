import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { compile, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, importUntil, root, runProgram } from '../fixtures/child.js';

const directory = t.testdir();
const builds = twoBuilds(directory);
const slow = compile('loading-thread.c', join(directory, 'slow.so'));

/** A program with a handle whose swap waits in a constructor, on another thread, and with handles of another library. */
function programIn(t: Test, body: string): string {
  const cwd = t.testdir();
  const { so: path } = copyBuilds(builds, cwd);
  const slowPath = join(cwd, 'slow.so');
  copyFileSync(slow, slowPath);
  return `
    import { existsSync, writeFileSync } from 'node:fs';
    import { setFlagsFromString } from 'node:v8';
    import { runInNewContext } from 'node:vm';
    import { Worker } from 'node:worker_threads';
    import { loaded, SoHandle } from 'soswap';
    ${importUntil}
    const path = ${JSON.stringify(path)};
    const slow = SoHandle.open(${JSON.stringify(slowPath)});
    const gate = slow.path + '.gate';
    const open = () => writeFileSync(gate, '');
    const arrival = () => until('the constructor has begun', () => existsSync(gate + '.arrived'));
    const load = () => {
      process.env.SOSWAP_TEST_GATE = gate;
      return slow.swap({ order: 'open-first', timeout: 60_000 });
    };
    const quickly = (what, run) => {
      const begun = performance.now();
      const result = run();
      const took = performance.now() - begun;
      if (took > 500) console.log(what, 'held the thread for', took);
      return result;
    };
    ${body}`;
}

t.test('other handles do not wait for a constructor on another thread', async (t) => {
  const program = programIn(
    t,
    `
    const so = SoHandle.open(path, { count: { return: 'int32' } });
    so.functions.count();
    const swap = load();
    await arrival();
    quickly('getSymbol()', () => so.getSymbol('count'));
    const version = quickly('getFunction()', () => so.getFunction('version', { return: 'string' }));
    console.log(version(), so.functions.count());
    const { unmapped, retained } = quickly('close()', () => so.close());
    console.log(unmapped, retained[0].code, loaded().length);
    open();
    console.log((await swap).generation);
    await until('the closed image is gone', () => loaded().length === 1);
    slow.close();`,
  );
  const stdout = 'build 1111 2\nfalse loader-busy 2\n2\n';
  t.match(await runProgram(program, { cwd: root }), { ...exitedCleanly, stdout });
});

t.test('a dropped handle does not wait for it either', async (t) => {
  const program = programIn(
    t,
    `
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc');
    (() => SoHandle.open(path))();
    const swap = load();
    await arrival();
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 5);
    await until('the handle is collected', () => {
      gc();
      return loaded().every(({ path: each, state }) => each !== path || state === 'retained');
    });
    clearInterval(timer);
    if (longest > 500) console.log('held for', longest);
    open();
    await swap;
    await until('its image is gone', () => loaded().length === 1);
    slow.close();`,
  );
  t.match(await runProgram(program, { cwd: root }), { ...exitedCleanly, stdout: '' });
});

t.test('process.exit() does not wait for a constructor that never ends', async (t) => {
  const program = programIn(
    t,
    `
    process.on('exit', (code) => console.log('exit', code));
    load();
    await arrival();
    setTimeout(() => console.log('too late'), 10_000);
    process.exitCode = 7;
    process.exit();`,
  );
  const begun = performance.now();
  const ended = await runProgram(program, { cwd: root });
  t.match(ended, { code: 7, signal: null, stdout: 'exit 7\n', stderr: '' });
  t.ok(performance.now() - begun < 15_000, 'the constructor would wait for 30 seconds');
});

t.test('a worker may be terminated in the middle of it', async (t) => {
  const program = programIn(
    t,
    `
    const worker = new Worker(\`
      const { SoHandle } = await import('soswap');
      const { parentPort } = await import('node:worker_threads');
      const so = SoHandle.open(\${JSON.stringify(slow.path)});
      parentPort.once('message', () => so.swap({ order: 'open-first' }));
      parentPort.postMessage('open');
    \`, { eval: true });
    await new Promise((resolve) => worker.once('message', resolve));
    process.env.SOSWAP_TEST_GATE = gate;
    worker.postMessage('swap');
    await arrival();
    const ended = worker.terminate(); // Node.js closes the addon of the worker, and waits for the loader
    await new Promise((resolve) => setTimeout(resolve, 3000));
    console.log(loaded().length > 1);
    open();
    await ended;
    await until('the images of the worker are gone', () => loaded().length === 1);
    slow.close();`,
  );
  const stdout = 'true\n';
  t.match(await runProgram(program, { cwd: root }), { ...exitedCleanly, stdout });
});
