import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SoHandle, type SwapOptions } from 'soswap';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, importUntil, root, runNode, runProgram } from '../fixtures/child.js';
import { beginning, isAlive, pidsIn } from '../fixtures/quarantine.js';
import { until } from '../fixtures/until.js';

// Who runs the child process of a quarantine, and how it ends when nobody waits for it any more.

const directory = t.testdir();
const builds = twoBuilds(directory);
const begins = beginning(directory);
const code = 'ERR_SOSWAP_QUARANTINE';

/** A program whose `process.execPath` is a script that runs the program itself, and that counts its starts. */
function programOfItself(cwd: string, start: string, swaps: string): string {
  copyBuilds(builds, cwd);
  const executable = join(cwd, 'executable');
  const program = join(cwd, 'program.mjs');
  writeFileSync(executable, `#!/bin/sh\n${start} "${process.execPath}" "${program}" "$@"\n`);
  chmodSync(executable, 0o755);
  writeFileSync(
    program,
    `
    import { appendFileSync } from 'node:fs';
    import { Worker } from 'node:worker_threads';
    appendFileSync('${cwd}/starts', 'x');
    process.execPath = '${executable}';
    ${swaps}
  `,
  );
  return program;
}

const tries = `
  let so;
  try {
    const { SoHandle } = await import('soswap');
    so = SoHandle.open('./so.so');
    await so.swap({ quarantine: { timeout: 2000 } });
  } catch ({ code, message }) {
    console.log(code, message);
  }
`;
const staysAlive = `${tries} if (so === undefined) setInterval(() => {}, 1000);`;

const programs: [string, string, string][] = [
  ['is the program itself', 'exec', tries],
  ['starts the program as another process', '', tries],
  ['is the program itself, which lives on when an import fails', 'exec', staysAlive],
  [
    'is the program itself, which swaps in a worker without an environment',
    'exec',
    `new Worker('${join(directory, 'worker.mjs')}', { env: {} });`,
  ],
];
for (const [what, start, swaps] of programs) {
  t.test(`where execPath ${what}, the candidate is refused after one start`, async (t) => {
    const cwd = t.testdir();
    const program = programOfItself(cwd, start, swaps);
    writeFileSync(
      join(directory, 'worker.mjs'),
      `process.execPath = '${cwd}/executable'; ${tries}`,
    );
    const ended = await runNode([program], { cwd });
    t.match(ended, { ...exitedCleanly, stdout: new RegExp(`^${code} .*execPath`) });
    t.equal(readFileSync(join(cwd, 'starts'), 'utf8'), 'xx');
  });
}

const notNode: [string, string][] = [
  ['a single executable application', "process.getBuiltinModule('node:sea').isSea = () => true"],
  [
    'Electron',
    "Object.defineProperty(process, 'versions', { value: { ...process.versions, electron: '30' } })",
  ],
  ['pkg', 'process.pkg = {}'],
];
for (const [what, pretend] of notNode) {
  t.test(`in ${what} no child is started, and the error names the way out`, async (t) => {
    const cwd = t.testdir();
    copyBuilds(builds, cwd);
    const program = `
      import { SoHandle } from 'soswap';
      const so = SoHandle.open('./so.so');
      const execPath = process.execPath;
      process.execPath = '/nowhere';
      ${pretend};
      const tell = ({ code, message }) => console.log(code, message);
      await so.swap({ quarantine: true }).catch(tell);
      try { so.swapSync({ quarantine: true }) } catch (error) { tell(error) }
      const quarantine = { execPath, execArgv: ['--no-warnings'] };
      await so.swap({ quarantine });
      so.swapSync({ quarantine });
      process.send(so.generation);
    `;
    const refusal = `${code} .*${what}.*quarantine: { execPath, execArgv }.*\n`;
    t.match(await runProgram(program, { cwd }), {
      ...exitedCleanly,
      stdout: new RegExp(`^(${refusal}){2}$`),
      messages: [3],
    });
  });
}

t.test('the options execPath and execArgv reach the child', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path);
  const quarantine = { execPath: process.execPath, execArgv: ['--no-such-option'] };
  const refused = { code, message: /did not run its program/ };
  t.throws(() => so.swapSync({ quarantine }), refused);
  await t.rejects(so.swap({ quarantine }), refused);
  await t.rejects(so.swap({ quarantine: { execPath: '/nowhere' } }), {
    code,
    cause: { code: 'ENOENT' },
  });
  const wrong: [unknown, string][] = [
    [{ execPath: 1 }, 'ERR_INVALID_ARG_TYPE'],
    [{ execPath: '' }, 'ERR_INVALID_ARG_VALUE'],
    [{ execArgv: '--inspect' }, 'ERR_INVALID_ARG_TYPE'],
    [{ execArgv: [1] }, 'ERR_INVALID_ARG_TYPE'],
  ];
  for (const [value, expected] of wrong) {
    const options = { quarantine: value } as SwapOptions;
    t.throws(() => so.swapSync(options), { code: expected }, JSON.stringify(value));
  }
  so.close();
});

t.test('neither the package nor the child needs another package', async (t) => {
  const away = mkdtempSync(join(tmpdir(), 'soswap-test-')); // no node_modules above it
  t.teardown(() => rmSync(away, { recursive: true }));
  for (const part of ['dist', 'package.json', 'build/Release/soswap.node']) {
    cpSync(join(root, part), join(away, 'soswap', part), { recursive: true });
  }
  const { so: path } = copyBuilds(builds, away);
  const program = `
    import { SoHandle } from './soswap/dist/index.js';
    const so = SoHandle.open('${path}');
    so.swapSync({ quarantine: true });
    await so.swap({ quarantine: true });
    console.log(so.generation);
  `;
  writeFileSync(join(away, 'program.mjs'), program);
  t.match(await runNode(['program.mjs'], { cwd: away }), { ...exitedCleanly, stdout: '3\n' });
});

t.test('the child gets the copy for reading alone', async (t) => {
  const cwd = t.testdir();
  copyBuilds(builds, cwd);
  const copies = '(fcntl(4, F_GETFL) | fcntl(5, F_GETFL))';
  const writes = `if (getenv("SOSWAP_QUARANTINE") && (${copies} & O_ACCMODE)) abort()`;
  for (const SOSWAP_SNAPSHOT of ['memory', 'file']) {
    const program = `
      import { SoHandle } from 'soswap';
      const so = SoHandle.open('${begins(writes)}');
      await so.swap({ quarantine: true });
      so.swapSync({ quarantine: true });
      process.send(so.generation);
    `;
    const ended = await runProgram(program, { cwd, env: { SOSWAP_SNAPSHOT } });
    t.match(ended, { ...exitedCleanly, messages: [3] });
  }
});

/** A worker in the middle of a quarantine, whose child hangs beside a process that it has started. */
const inWorker = (path: string, next: string) => `
  import { once } from 'node:events';
  import { existsSync, readFileSync } from 'node:fs';
  import { Worker } from 'node:worker_threads';
  ${importUntil}
  const worker = new Worker(\`
    import('soswap').then(({ SoHandle }) => {
      SoHandle.open('${path}').swap({ quarantine: { timeout: 1e9 } });
    });
    require('node:worker_threads').parentPort.on('message', () => process.exit());
  \`, { eval: true, execArgv: [] });
  const pids = () => existsSync('pids') ? readFileSync('pids', 'utf8').split('\\n').filter(Boolean) : [];
  const told = () => pids().length === 2;
  await until('the constructor has begun', told);
  ${next}
`;
const inMain = (path: string) => `
  import { existsSync, readFileSync } from 'node:fs';
  import { SoHandle } from 'soswap';
  ${importUntil}
  SoHandle.open('${path}').swap({ quarantine: { timeout: 1e9 } });
  const pids = () => existsSync('pids') ? readFileSync('pids', 'utf8').split('\\n').filter(Boolean) : [];
  const told = () => pids().length === 2;
  await until('the constructor has begun', told);
  process.exit(7);
`;
const nobodyIsLeft = `
  const children = () => readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8');
  await until('no child is left', () => !children().trim());
`;

const ends: [string, (path: string) => string, { code: number; signal: null }][] = [
  [
    'a worker that is terminated',
    (path) => inWorker(path, `await worker.terminate(); ${nobodyIsLeft}`),
    { code: 0, signal: null },
  ],
  [
    'a worker that exits',
    (path) => inWorker(path, `worker.postMessage(0); await once(worker, 'exit'); ${nobodyIsLeft}`),
    { code: 0, signal: null },
  ],
  [
    'a program that exits while its worker',
    (path) => inWorker(path, 'process.exit(7)'),
    { code: 7, signal: null },
  ],
  ['a program that exits', inMain, { code: 7, signal: null }],
];
for (const [who, program, ending] of ends) {
  t.test(`${who} in the middle of a quarantine leaves no process`, async (t) => {
    const cwd = t.testdir();
    const path = join(cwd, 'so.so');
    // The constructor hangs in the child alone.
    const hangs =
      'if (getenv("SOSWAP_QUARANTINE")) { tell_pid(); leave_child(); for (;;) pause(); }';
    cpSync(begins(hangs), path);
    const env = { SOSWAP_TEST_PID: join(cwd, 'pids') };
    t.match(await runProgram(program(path), { cwd, env }), { ...ending, stderr: '' });
    const pids = pidsIn(join(cwd, 'pids'));
    t.equal(pids.length, 2);
    await until('they have ended', () => !pids.some(isAlive));
  });
}

t.test('a quarantine that ends as usual leaves no listener for each', async (t) => {
  const { so: path } = copyBuilds(builds, t.testdir());
  const so = SoHandle.open(path);
  await so.swap({ quarantine: true });
  const listeners = process.listenerCount('exit');
  await so.swap({ quarantine: true });
  t.equal(process.listenerCount('exit'), listeners);
  so.close();
});
