import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { compile, twoBuilds } from '../fixtures/build.js';
import {
  exitedCleanly,
  killAtExit,
  main,
  plainNode,
  Running,
  root,
  runNode,
  runSoswap,
} from '../fixtures/child.js';
import { ask } from '../fixtures/control-client.js';
import { until } from '../fixtures/until.js';

// One deployment, many processes: the commands ps, swap, rollback, deploy and events.

const directory = t.testdir();
twoBuilds(directory, 'gate.c');
writeFileSync(join(directory, 'bad.so'), 'no library');
const program = fileURLToPath(new URL('../fixtures/served.js', import.meta.url));

interface Served {
  readonly child: ChildProcess;
  readonly socket: string;
  version(): Promise<string>;
}

/** A library, and processes that serve it. */
async function fleet(t: Test, count: number, workers = 0) {
  const run = mkdtempSync(join(tmpdir(), 'soswap-'));
  const path = join(run, 'so.so');
  const env = { SOSWAP_CONTROL_DIR: join(run, 'run') };
  const deploy = (name: string) => {
    copyFileSync(join(directory, `${name}.so`), `${path}.new`);
    renameSync(`${path}.new`, path);
  };
  deploy('so1');
  const start = async (): Promise<Served> => {
    const child = spawn(...plainNode([program, path, `${workers}`, 'shop']), {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    killAtExit(child);
    await once(child.stdout!, 'data');
    const version = async () => {
      child.stdin?.write('version\n');
      return String((await once(child.stdout!, 'data'))[0]).trim();
    };
    return { child, version, socket: join(run, `run/shop-${child.pid}.sock`) };
  };
  const processes = await Promise.all(Array.from({ length: count }, start));
  t.teardown(async () => {
    for (const { child } of processes) {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    rmSync(run, { recursive: true });
  });
  const soswap = (...args: string[]) => runSoswap(args, { cwd: root, env });
  const versions = () =>
    Promise.all(
      processes
        .filter(({ child }) => child.exitCode === null && child.signalCode === null)
        .map(({ version }) => version()),
    );
  return { path, run, env, deploy, processes, start, soswap, versions };
}

const [ones, twos] = ['build 1111', 'build 2222'];

t.test('ps', async (t) => {
  const { soswap, path, processes } = await fleet(t, 2, 1);
  const { code, stdout } = await soswap('ps');
  t.equal(code, 0);
  for (const { child } of processes) {
    t.match(
      stdout,
      new RegExp(`^${child.pid} +shop +\\d+ +${path} +1 +[0-9a-f]{8} +current$`, 'm'),
    );
  }
  const lines = (await soswap('ps', '--json', '--pid', `${processes[0]?.child.pid}`)).stdout;
  const rows = lines
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.match(rows, [
    { name: 'shop', path, generation: 1 },
    { name: 'shop', path, generation: 1 },
  ]);
  t.match(await soswap('ps', '--name', 'other'), { code: 1, stdout: '', stderr: /no process/ });
});

t.test('all take it, or none', async (t) => {
  const { soswap, path, deploy, versions, processes } = await fleet(t, 3, 1);
  deploy('so2');
  const swapped = await soswap('swap', path);
  t.match(swapped, { code: 0, stderr: '' });
  t.match(swapped.stdout, /shop \(pid \d+\): swapped: generation 1 → 2, build [0-9a-f]{8}, paused/);
  t.match(swapped.stdout, /\nswapped in 3 of 3 process\(es\)\n$/);
  t.same(await versions(), [twos, twos, twos]);
  t.match(await soswap('swap', path), {
    code: 0,
    stdout: /all processes run the build of the file/,
  });

  deploy('bad');
  const refused = await soswap('swap', 'so.so', '--name', 'shop');
  t.match(refused, { code: 1, stderr: /^soswap: nothing has changed: .*not an ELF file/ });
  t.same(await versions(), [twos, twos, twos]);

  deploy('so1');
  const one = `${processes[1]?.child.pid}`;
  t.match(await soswap('swap', path, '--pid', one), { code: 0, stdout: /swapped in 1 of 1/ });
  t.same(await versions(), [twos, ones, twos]);
  t.match(await soswap('swap', path, '--json'), {
    code: 0,
    stdout:
      /"state":"current"[\s\S]*\{"exitCode":0,"text":"swapped in 2 of 3 process\(es\), 1 had it"\}\n$/,
  });
  t.match(await soswap('rollback', path), {
    code: 0,
    stdout: /3 of 3 process\(es\) have gone back/,
  });
  t.same(await versions(), [twos, twos, twos]);
});

t.test('a process that does not answer, and one that has ended', async (t) => {
  const { soswap, path, deploy, versions, processes } = await fleet(t, 3);
  deploy('so2');
  const [, stopped, killed] = processes as [Served, Served, Served];
  stopped.child.kill('SIGSTOP');
  const silent = await soswap('swap', path, '--timeout', '2');
  stopped.child.kill('SIGCONT');
  t.match(silent, { code: 1, stderr: /nothing has changed: it did not answer within 2000 ms/ });
  await until('it is well again', async () => {
    return (await ask(stopped.socket, 'GET /v1/handles')).status === 200;
  });
  t.same(await versions(), [ones, ones, ones]);
  await until('nothing waits for a commit', async () => {
    const { body } = await ask(stopped.socket, 'GET /v1/handles');
    return !body.handles[0].prepared;
  });
  t.match(await soswap('swap', path), { code: 0, stdout: /swapped in 3 of 3/ });
  t.same(await versions(), [twos, twos, twos]);
  killed.child.kill('SIGKILL');
  await once(killed.child, 'exit');
  deploy('so1');
  t.match(await soswap('swap', path), { code: 0, stdout: /swapped in 2 of 2/ });
  t.same(await versions(), [ones, ones]);
});

t.test('a commit that fails in one process takes the others back', async (t) => {
  const { soswap, path, deploy, versions, processes } = await fleet(t, 3);
  deploy('so2');
  // Prepared by somebody else: its own prepare is refused.
  const [busy] = processes as [Served];
  const { body } = await ask(busy.socket, 'POST /v1/prepare', { path });
  t.match(await soswap('swap', path), {
    code: 1,
    stderr: /nothing has changed: another deployment of .* is under way/,
  });
  t.same(await versions(), [ones, ones, ones]);
  t.match(await ask(busy.socket, 'POST /v1/discard', { id: body.id }), { status: 200 });
  // A commit with a lease that nobody confirms.
  const prepared = await ask(busy.socket, 'POST /v1/prepare', { path });
  const { id } = prepared.body;
  t.match(await ask(busy.socket, 'POST /v1/commit', { id, lease: 50 }), {
    status: 200,
    body: { id },
  });
  t.equal(await busy.version(), twos);
  await until('it has gone back', async () => (await busy.version()) === ones);
  t.match(await ask(busy.socket, 'POST /v1/confirm', { id }), { status: 409 });
});

t.test('a deployer that ends while it gives the word', async (t) => {
  const { path, deploy, versions, processes } = await fleet(t, 3);
  const sockets = processes.map(({ socket }) => socket);
  const everywhere = <T>(work: (socket: string, index: number) => Promise<T>) =>
    Promise.all(sockets.map(work));
  const commit = async (deployment: string) => {
    const ids = await everywhere(async (socket) => {
      return (await ask(socket, 'POST /v1/prepare', { path })).body.id as string;
    });
    const more = { lease: 300, deployment, peers: sockets };
    await everywhere((socket, index) =>
      ask(socket, 'POST /v1/commit', { id: ids[index], ...more }),
    );
    return ids;
  };
  deploy('so2');
  await commit('one');
  t.same(await versions(), [twos, twos, twos]);
  await until('all have gone back', async () => (await versions()).every((each) => each === ones));
  const ids = await commit('two');
  t.match(await ask(sockets[0]!, 'POST /v1/confirm', { id: ids[0] }), { status: 200 });
  const states = () =>
    everywhere(async (socket) => (await ask(socket, 'GET /v1/deployment?name=two')).body.state);
  t.same(await states(), ['confirmed', 'committed', 'committed']);
  await until('all have the word', async () => {
    return (await states()).every((each) => each === 'confirmed');
  });
  t.same(await versions(), [twos, twos, twos]);
});

t.test('deploy installs, and puts the old file back where it is refused', async (t) => {
  const { soswap, path, run, versions } = await fleet(t, 2);
  t.match(await soswap('deploy', join(directory, 'so2.so'), path), {
    code: 0,
    stdout: /swapped in 2 of 2/,
  });
  t.same(await versions(), [twos, twos]);
  const before = readFileSync(path);
  const refused = await soswap('deploy', join(directory, 'bad.so'), path);
  t.match(refused, { code: 1, stderr: /ERR|ELF/ });
  t.ok(readFileSync(path).equals(before));
  // It loads in the deployer's eyes, and every process refuses it.
  const other = join(run, 'other.so');
  compile('calls.c', other);
  t.match(await soswap('deploy', other, path), { code: 1, stderr: /symbol version is absent/ });
  t.ok(readFileSync(path).equals(before), 'the file is what it was');
  t.same(readdirSync(run).sort(), ['other.so', 'run', 'so.so'], 'and nothing is left beside it');
  t.same(await versions(), [twos, twos]);
});

t.test('rolling', async (t) => {
  const { soswap, path, deploy, versions, processes } = await fleet(t, 3);
  deploy('so2');
  t.match(await soswap('swap', path, '--rolling', '--wait', '0'), {
    code: 0,
    stdout: /swapped in 3 of 3/,
  });
  t.same(await versions(), [twos, twos, twos]);
  const sorted = [...processes].sort((one, other) => one.child.pid! - other.child.pid!);
  sorted[1]?.child.stdin?.write('ill\n');
  await once(sorted[1]!.child.stdout!, 'data');
  deploy('so1');
  const ill = await soswap('swap', path, '--rolling', '--wait', '0');
  t.match(ill, { code: 1, stderr: /nothing has changed: it is not well: the program says so/ });
  t.match(ill.stdout, /rolled-back[\s\S]*rolled-back/);
  t.same(await versions(), [twos, twos, twos]);
  const check = ['--rolling', '--wait', '0', '--pid', `${sorted[0]?.child.pid}`, '--check'];
  t.match(await soswap('swap', path, '--force', ...check, 'test $SOSWAP_PID -lt 0'), {
    code: 1,
    stderr: /test .* failed: exit code 1/,
  });
  t.match(await soswap('swap', path, '--force', ...check, 'test $SOSWAP_PID -gt 0'), { code: 0 });
});

t.test('Ctrl-C discards what is prepared', async (t) => {
  const { path, deploy, versions, processes, env, soswap } = await fleet(t, 2);
  deploy('so2');
  const [one, stopped] = processes as [Served, Served];
  // One process is found, and then does not answer the prepare.
  const swap = new Running([main, 'swap', path], { cwd: root, env });
  await until('one has prepared', async () => {
    const { body } = await ask(one.socket, 'GET /v1/handles');
    return body.handles[0].prepared || body.handles[0].generation === 2;
  });
  const ended = await swap.end('SIGINT');
  // Depending on how far it was, it has given it up, or done it: the exit code is true.
  t.ok([0, 130].includes(ended.code ?? -1), `exit code ${ended.code}`);
  const expected = ended.code === 130 ? ones : twos;
  t.same(await versions(), [expected, expected], `exit code ${ended.code}`);
  t.ok(stopped);
  t.match(await soswap('swap', path, '--force'), { code: 0 });
});

t.test('events', async (t) => {
  const { path, deploy, processes, env, soswap } = await fleet(t, 1);
  const events = new Running([main, 'events'], { cwd: root, env });
  const [{ child, socket }] = processes as [Served];
  await until('it listens', async () => {
    deploy('so2');
    await ask(socket, 'POST /v1/swap', { path, force: true });
    return events.stdout !== '';
  });
  t.match(
    events.stdout,
    new RegExp(`^shop \\(pid ${child.pid}, thread \\d+\\): swap: .*generation`),
  );
  deploy('bad');
  await soswap('swap', path);
  await events.says(/refused: .*not an ELF file/);
  child.kill('SIGKILL');
  t.match(await events.end(), { code: 0 }, 'it ends with the last process');
});

t.test('wrong usage', async (t) => {
  const { soswap } = await fleet(t, 0);
  for (const [args, message] of [
    [['swap'], /LIB is missing/],
    [['swap', 'a', '--name', 'x', '--all'], /exclude each other/],
    [['swap', 'a', '--timeout', '0'], /--timeout must be a whole number, 1 or more/],
    [['swap', 'a', '--order', 'x'], /--order must be/],
    [['swap', 'a', '--wait', '1'], /--wait needs --rolling/],
    [['deploy', 'a'], /DEST is missing/],
    [['ps', '--all'], /--all/],
  ] as const) {
    t.match(await soswap(...args), { code: 2, stderr: message }, args.join(' '));
  }
  t.match(await soswap('swap', '/absent.so'), {
    code: 1,
    stderr: /no process .* has '\/absent.so'/,
  });
  t.match(await soswap('rollback', '/absent.so'), { code: 1 });
  t.match(await soswap('events'), { code: 1 });
});

t.test('processes and deployers that are killed at random moments', async (t) => {
  const campaign = join(root, 'test/campaigns/control.js');
  const args = ['--processes', '4', '--workers', '1', '--deployments', '15', '--seed', '7'];
  const ended = await runNode([campaign, ...args], { cwd: root });
  t.match(ended, exitedCleanly);
  t.match(JSON.parse(ended.stdout), { deployments: 15, mixed: 0 });
});
