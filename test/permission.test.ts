import { copyFileSync } from 'node:fs';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, importUntil, Running, root, runProgram } from '../fixtures/child.js';

// The permission model of Node.js, whose calls throw at once where it forbids them.

const builds = twoBuilds(t.testdir());
const model = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission';
const quiet = [model, '--no-warnings'];
const everyFile = '--allow-fs-read=*';

t.test('a quarantine that may start no process refuses, also below a watch', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const program = `
    import { SoHandle } from 'soswap';
    ${importUntil}
    const so = SoHandle.open('./so.so', { version: { return: 'string' } });
    const events = [];
    const facts = ({ name, code, message, cause }) =>
      [name, code, cause?.code, message.includes('--allow-child-process')].join();
    so.on('refused', (error) => events.push(facts(error)));
    await so.swap({ quarantine: true }).catch((error) => events.push(facts(error)));
    try { so.swapSync({ quarantine: true }) } catch (error) { events.push(facts(error)) }
    so.watch({ settle: 10, persistent: true, swap: { quarantine: true } });
    console.log('watching');
    await until('the watch has refused', () => events.length === 5);
    process.send([events, so.functions.version()]);
    so.close();
  `;
  const flags = [...quiet, '--allow-addons', everyFile];
  const running = new Running([...flags, '--input-type=module', '--eval', program], { cwd }, 'ipc');
  await running.says(/watching/);
  copyFileSync(`${cwd}/so2.so`, `${cwd}/so.so`); // the program may not write
  const refusal = 'SoError,ERR_SOSWAP_QUARANTINE,ERR_ACCESS_DENIED,true';
  t.match(await running.end(), {
    ...exitedCleanly,
    messages: [[Array(5).fill(refusal), 'build 1111']],
  });
});

t.test('a file that Node.js may not read is not watched in silence', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const program = `
    import { SoHandle } from 'soswap';
    const so = SoHandle.open(${JSON.stringify(path)});
    try {
      so.watch({ persistent: true });
    } catch ({ name, code, cause }) {
      process.send([name, code, cause?.code]);
    }
    so.close();
  `;
  const reads = ['dist', 'build', 'node_modules', 'package.json'].map(
    (part) => `--allow-fs-read=${root}${part}${part.includes('.') ? '' : '/*'}`,
  );
  // In this directory: to resolve the import, Node.js 20.19 reads the package.json there.
  const ended = await runProgram(program, { cwd: root }, ...quiet, '--allow-addons', ...reads);
  const expected = ['SoError', 'ERR_SOSWAP_UNREADABLE', 'ERR_ACCESS_DENIED'];
  t.match(ended, { ...exitedCleanly, messages: [expected] });
});

for (const [flags, advice] of [
  [[...quiet, everyFile], '--allow-addons'],
  [['--no-addons'], '--no-addons'],
] as const) {
  t.test(`an import that may load no addon names the option ${advice}`, async (t) => {
    const program = `
      const { code, message, cause } = await import('soswap').catch((error) => error);
      process.send([code, message.includes('${advice}'), message.includes('build'), cause.code]);
    `;
    t.match(await runProgram(program, { cwd: root }, ...flags), {
      ...exitedCleanly,
      messages: [['ERR_SOSWAP_ADDON', true, false, 'ERR_DLOPEN_DISABLED']],
    });
  });
}
