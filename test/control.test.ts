import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import { SoHandle } from 'soswap';
import { joinControl, serveControl } from 'soswap/control';
import t, { type Test } from 'tap';
import { twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, Running, root, runProgram } from '../fixtures/child.js';
import { ask } from '../fixtures/control-client.js';
import { Gate } from '../fixtures/gate.js';
import { soon, until } from '../fixtures/until.js';

// The control socket of a process.

/** A directory with a path that is short enough for a socket. */
function short(): string {
  const made = mkdtempSync(join(tmpdir(), 'soswap-'));
  process.on('exit', () => rmSync(made, { recursive: true, force: true }));
  return made;
}

const directory = t.testdir();
twoBuilds(directory, 'gate.c');
writeFileSync(join(directory, 'bad.so'), 'no library');
process.env.SOSWAP_CONTROL_DIR = join(short(), 'run');

const definitions = {
  version: { return: 'string' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
} as const;

/** A library at a path of its own, served. */
async function served(t: Test, options: Parameters<typeof serveControl>[0] = {}) {
  const path = join(t.testdir(), 'so.so');
  const deploy = (name: string) => {
    copyFileSync(join(directory, `${name}.so`), `${path}.new`);
    renameSync(`${path}.new`, path);
  };
  deploy('so1');
  const so = SoHandle.open(path, definitions);
  const control = await serveControl({ name: 'test', handles: [so], ...options });
  t.teardown(async () => {
    await control.close();
    if (!so.closed) so.close();
  });
  const send = (route: string, body?: object | string) => ask(control.path, route, body);
  return { so, path, deploy, control, send };
}

t.test('prepare, commit, discard, swap and rollback', async (t) => {
  const { so, path, deploy, send } = await served(t);
  const facts = { path, generation: 1, status: 'current', history: [], prepared: false };
  t.match(await send('GET /v1/handles'), {
    status: 200,
    body: { pid: process.pid, name: 'test', handles: [facts] },
  });
  t.match(await send('POST /v1/prepare', { path }), {
    status: 200,
    body: { id: undefined, handles: [{ outcome: 'current', generation: 1 }] },
  });
  deploy('so2');
  const prepared = await send('POST /v1/prepare', { path, order: 'open-first' });
  t.match(prepared, { status: 200, body: { handles: [{ outcome: 'prepared', generation: 2 }] } });
  t.match(await send('GET /v1/handles'), {
    body: { handles: [{ prepared: true, status: 'replaced' }] },
  });
  t.equal(so.functions.version(), 'build 1111');
  t.match(await send('POST /v1/commit', { id: prepared.body.id }), {
    status: 200,
    body: { handles: [{ outcome: 'committed', generation: 2, buildId: so.image?.buildId }] },
  });
  t.equal(so.functions.version(), 'build 2222');
  const stale = { status: 409, body: { error: { code: 'ERR_SOSWAP_STALE_PREPARATION' } } };
  t.match(await send('POST /v1/commit', { id: prepared.body.id }), stale);
  t.match(await send('POST /v1/rollback', { path: basename(path) }), {
    status: 200,
    body: { handles: [{ outcome: 'rolled-back', generation: 3 }] },
  });
  t.match(await send('GET /v1/handles'), { body: { handles: [{ status: 'rolled-back' }] } });
  const again = await send('POST /v1/prepare', { path });
  t.match(await send('POST /v1/discard', { id: again.body.id }), {
    status: 200,
    body: { handles: [{ outcome: 'discarded' }] },
  });
  t.match(await send('POST /v1/discard', { id: again.body.id }), stale);
  t.match(await send('POST /v1/swap', { path, force: true }), {
    status: 200,
    body: { handles: [{ outcome: 'committed', generation: 4 }] },
  });
  deploy('bad');
  t.match(await send('POST /v1/swap', { path }), {
    status: 409,
    body: { handles: [{ outcome: 'refused' }], error: { code: 'ERR_SOSWAP_NOT_ELF', path } },
  });
  t.match(await send('POST /v1/swap', { path: '/absent.so' }), {
    status: 404,
    body: { error: { code: 'ERR_SOSWAP_NOT_FOUND', message: /no open handle of '\/absent.so'/ } },
  });
  t.equal(so.functions.version(), 'build 2222');
});

t.test('a prepared swap that nobody commits', async (t) => {
  const { so, path, deploy, send } = await served(t);
  deploy('so2');
  const { body } = await send('POST /v1/prepare', { path, lease: 30 });
  await until('the lease is over', async () => {
    const { body } = await send('GET /v1/handles');
    return !body.handles[0].prepared;
  });
  t.match(await send('POST /v1/commit', { id: body.id }), { status: 409 });
  t.equal(so.generation, 1);
});

/** Asks twice at once for a swap that takes long to prepare: resolves when one was refused, and the other is under way. */
async function preparing({
  send,
  path,
}: Pick<Awaited<ReturnType<typeof served>>, 'send' | 'path'>) {
  const body = { path, quarantine: true };
  const both = [send('POST /v1/prepare', body), send('POST /v1/prepare', body)];
  for (const each of both) each.catch(() => {});
  const first = await Promise.race(both);
  const other = both[(await Promise.race([both[0], undefined])) === first ? 1 : 0];
  return { first, other: other as Promise<Awaited<ReturnType<typeof send>>> };
}

t.test('one deployment of a library at a time', async (t) => {
  const { path, deploy, send, so } = await served(t);
  deploy('so2');
  const { first, other } = await preparing({ send, path });
  const message = `another deployment of '${path}' is under way`;
  t.match(first, { status: 409, body: { error: { code: 'ERR_SOSWAP_BUSY', message } } });
  const { body, status } = await other;
  t.equal(status, 200);
  t.match(await send('POST /v1/prepare', { path: basename(path) }), { status: 409 });
  t.match(await send('POST /v1/commit', { id: body.id }), { status: 200 });
  t.equal(so.functions.version(), 'build 2222');
});

t.test('a deployment of a library whose commit is under way', async (t) => {
  const { path, deploy, send, so } = await served(t);
  deploy('so2');
  const { body } = await send('POST /v1/prepare', { path });
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  // One is refused as soon as the other one is under way.
  const commits = [0, 0].map(() => send('POST /v1/commit', { id: body.id, lease: 60_000 }));
  t.match(await Promise.race(commits), { status: 409 });
  const message = `another deployment of '${path}' is under way`;
  t.match(await send('POST /v1/prepare', { path }), { status: 409, body: { error: { message } } });
  t.match(await send('GET /v1/handles'), { body: { waiting: 1 } });
  gate.open();
  await call;
  const ended = (await Promise.all(commits)).find(({ status }) => status === 200);
  t.match(await send('POST /v1/prepare', { path }), { status: 409, body: { error: { message } } });
  t.match(await send('POST /v1/confirm', { id: ended?.body.id }), { status: 200 });
  t.match(await send('GET /v1/handles'), { body: { waiting: 0 } });
  t.equal(so.functions.version(), 'build 2222');
});

t.test('libraries of one name in two directories are deployed at the same time', async (t) => {
  const both = short();
  const paths = ['one', 'two'].map((name) => {
    mkdirSync(join(both, name));
    const path = join(both, name, 'so.so');
    copyFileSync(join(directory, 'so1.so'), path);
    return path;
  });
  const handles = paths.map((path) => SoHandle.open(path, definitions));
  const { send } = await served(t, { handles });
  t.teardown(() => {
    for (const each of handles) each.close();
  });
  const all = paths.map((path) => send('POST /v1/prepare', { path, force: true }));
  const prepared = await Promise.all(all);
  t.match(prepared, [{ status: 200 }, { status: 200 }]);
  for (const { body } of prepared) {
    t.match(await send('POST /v1/commit', { id: body.id }), { status: 200 });
  }
  t.same(
    handles.map(({ generation }) => generation),
    [2, 2],
  );
});

t.test('a socket that is closed while a swap is being prepared', async (t) => {
  const { path, deploy, send, so, control } = await served(t);
  deploy('so2');
  const { other } = await preparing({ send, path });
  await control.close();
  await other.catch(() => {}); // nobody answers
  const prepared = await so.prepare(); // ERR_SOSWAP_BUSY, if that one was still there
  prepared.discard();
  t.equal(so.functions.version(), 'build 1111');
});

t.test('what was swapped again since is not taken back', async (t) => {
  const { path, deploy, send, so } = await served(t);
  deploy('so2');
  const { body } = await send('POST /v1/prepare', { path });
  await send('POST /v1/commit', { id: body.id, lease: 60_000 });
  deploy('so1');
  await so.swap();
  t.match(await send('POST /v1/discard', { id: body.id }), {
    status: 409,
    body: { error: { code: 'ERR_SOSWAP_STALE_PREPARATION', message: /it was swapped since/ } },
  });
  t.same([so.functions.version(), so.generation], ['build 1111', 3]);
});

t.test('a commit that finds calls in flight', async (t) => {
  const { so, path, deploy, send } = await served(t);
  deploy('so2');
  const { body } = await send('POST /v1/prepare', { path, timeout: 20 });
  const gate = new Gate();
  const call = so.functions.pass(gate.words);
  await gate.arrival();
  t.match(await send('POST /v1/commit', { id: body.id }), {
    status: 409,
    body: { handles: [{ outcome: 'refused' }], error: { code: 'ERR_SOSWAP_BUSY' } },
  });
  gate.open();
  t.equal(await call, 1111);
  t.equal(so.functions.version(), 'build 1111');
});

/** A worker that has the library open and has joined. */
async function worker(path: string) {
  const text = `
    const { parentPort } = process.getBuiltinModule('node:worker_threads');
    (async () => {
      const { SoHandle } = await import(${JSON.stringify(import.meta.resolve('soswap'))});
      const { joinControl } = await import(${JSON.stringify(import.meta.resolve('soswap/control'))});
      const so = SoHandle.open(${JSON.stringify(path)}, { version: { return: 'string' } });
      globalThis.joined = joinControl();
      parentPort.on('message', (message) => {
        if (message === 'version') parentPort.postMessage(so.functions.version());
        if (message === 'leave') globalThis.joined[Symbol.dispose]();
        if (message === 'prepare') {
          so.prepare().then((swap) => swap.discard()).then(() => 'prepared', ({ code }) => code)
            .then((outcome) => parentPort.postMessage(outcome));
        }
      });
      parentPort.postMessage('ready');
    })();
  `;
  const started = new Worker(text, { eval: true });
  await once(started, 'message');
  const answer = async (message: 'version' | 'prepare') => {
    started.postMessage(message);
    return (await once(started, 'message'))[0];
  };
  return { started, answer, version: () => answer('version') };
}

t.test('all threads of the process, or none', async (t) => {
  const { so, path, deploy, send } = await served(t);
  const workers = [await worker(path), await worker(path)];
  t.teardown(() => Promise.all(workers.map(({ started }) => started.terminate())));
  const handles = async () => (await send('GET /v1/handles')).body.handles;
  await until('both have joined', async () => (await handles()).length === 3);
  const versions = () => Promise.all(workers.map(({ version }) => version()));
  deploy('so2');
  t.match(await send('POST /v1/swap', { path }), {
    status: 200,
    body: {
      handles: [{ outcome: 'committed' }, { outcome: 'committed' }, { outcome: 'committed' }],
    },
  });
  t.same([so.functions.version(), ...(await versions())], Array(3).fill('build 2222'));
  t.match((await send('GET /metrics')).body, `soswap_swaps_total{library="${path}"} 3`);

  deploy('so1');
  const { body } = await send('POST /v1/prepare', { path, timeout: 20 });
  const gate = new Gate();
  const call = so.functions.pass(gate.words); // the main thread cannot commit
  await gate.arrival();
  const refused = await send('POST /v1/commit', { id: body.id });
  gate.open();
  await call;
  t.match(refused, {
    status: 409,
    body: {
      handles: [{ outcome: 'refused' }, { outcome: 'rolled-back' }, { outcome: 'rolled-back' }],
      error: { code: 'ERR_SOSWAP_BUSY' },
    },
  });
  t.same([so.functions.version(), ...(await versions())], Array(3).fill('build 2222'));

  await workers[0]?.started.terminate();
  t.match(await send('POST /v1/swap', { path }), {
    status: 200,
    body: { handles: { length: 2 } },
  });
  t.equal(await workers[1]?.version(), 'build 1111');
});

t.test('a worker that leaves while a swap is being prepared', async (t) => {
  const { path, deploy, send } = await served(t);
  const { started, answer, version } = await worker(path);
  t.teardown(() => started.terminate());
  const handles = async () => (await send('GET /v1/handles')).body.handles;
  await until('it has joined', async () => (await handles()).length === 2);
  deploy('so2');
  const { other } = await preparing({ send, path });
  started.postMessage('leave');
  const { status, body } = await other;
  t.match([status, body.handles], [200, [{ outcome: 'prepared' }]]);
  t.equal(body.handles.length, 1);
  await until('it waits for nobody', async () => (await answer('prepare')) === 'prepared');
  t.match(await send('POST /v1/commit', { id: body.id }), { status: 200 });
  t.equal(await version(), 'build 1111');
});

t.test('events, health and figures', async (t) => {
  let health: unknown = true;
  const { path, deploy, send, control } = await served(t, { health: () => health });
  const events: string[] = [];
  const stream = request({ socketPath: control.path, path: '/v1/events', agent: false });
  stream.on('error', () => {}).end();
  t.teardown(() => stream.destroy());
  const [response] = await once(stream, 'response');
  response.setEncoding('utf8').on('data', (text: string) => events.push(text));
  deploy('so2');
  await send('POST /v1/swap', { path });
  deploy('bad');
  await send('POST /v1/swap', { path });
  await until('both were told', () => /event: swap\n[\s\S]*event: refused\n/.test(events.join('')));
  t.match(events.join(''), /data: \{"thread":\d+,"path":"[^"]*so.so","data":\{"path"/);

  t.match(await send('GET /v1/health'), { status: 200, body: { healthy: true, reasons: [] } });
  health = 'the queue is full';
  t.match(await send('GET /v1/health'), { status: 503, body: { reasons: ['the queue is full'] } });
  const metrics = (await send('GET /metrics')).body;
  for (const line of [
    'soswap_refused_total{library="LIB",code="ERR_SOSWAP_NOT_ELF"} 1',
    'soswap_pause_seconds_count{library="LIB"} 1',
    'soswap_swap_seconds_bucket{library="LIB",le="+Inf"} 1',
    'soswap_calls_in_flight{library="LIB"',
    'soswap_generation{library="LIB"',
    'soswap_retained_images 0',
  ]) {
    t.match(metrics, line.replace('LIB', path));
  }
  t.match(await send('GET /v1/loaded'), { body: { images: [{ path, generation: 2 }] } });
});

t.test('bad requests', async (t) => {
  const { path, send, control } = await served(t);
  const code = 'ERR_SOSWAP_CONTROL';
  const wrong: [string, object | string | undefined, number, RegExp | string][] = [
    ['GET /', undefined, 404, code],
    ['POST /v1/handles', {}, 404, code],
    ['GET /v1/swap', undefined, 404, code],
    ['POST /v1/swap', '{', 400, code],
    ['POST /v1/swap', '[]', 400, code],
    ['POST /v1/swap', 'null', 400, code],
    ['POST /v1/swap', {}, 400, code],
    ['POST /v1/swap', { path: 1 }, 400, code],
    ['POST /v1/swap', { path, verify: true }, 400, code],
    ['POST /v1/swap', { path, force: 1 }, 400, code],
    ['POST /v1/swap', { path, lease: -1 }, 400, code],
    ['POST /v1/swap', { path, lease: 1e9 }, 400, code],
    ['POST /v1/swap', { path, order: 'x' }, 400, 'ERR_INVALID_ARG_VALUE'],
    ['POST /v1/swap', { path, timeout: -1 }, 400, 'ERR_OUT_OF_RANGE'],
    ['POST /v1/commit', {}, 400, code],
    ['POST /v1/commit', { id: 'x' }, 409, 'ERR_SOSWAP_STALE_PREPARATION'],
    ['POST /v1/swap', `"${'x'.repeat(70_000)}"`, 413, code],
    ['GET //[', undefined, 400, 'ERR_INVALID_URL'],
  ];
  for (const [route, body, status, expected] of wrong) {
    const answer = await send(route, body);
    t.match(answer, { status, body: { error: { code: expected } } }, `${route} ${answer.status}`);
  }
  const socket = connect(control.path);
  socket.write('nonsense\r\n\r\n');
  t.match(String((await once(socket, 'data'))[0]), /^HTTP\/1.1 400 /);
});

t.test('a thousand connections, and the own work of the process', async (t) => {
  const { send, control } = await served(t);
  const sockets: Socket[] = [];
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  while (sockets.length < 1000) {
    const some = Array.from({ length: 100 }, () => connect(control.path).on('error', () => {}));
    await Promise.all(some.map((socket) => once(socket, 'connect', soon())));
    for (const socket of some) socket.write('GET /v1/handles HTTP/1.1\r\n'); // and no more
    sockets.push(...some);
  }
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  t.match(await send('GET /v1/handles'), { status: 200 });
  clearInterval(timer);
  t.comment(`the event loop was held for ${longest.toFixed(1)} ms at most`);
});

t.test('the socket is for its user alone', async (t) => {
  const { control } = await served(t);
  const mode = (path: string) => lstatSync(path).mode & 0o777;
  t.equal(mode(control.path), 0o600);
  t.equal(mode(dirname(control.path)), 0o700);
  const skip = process.getuid?.() === 0 ? false : 'needs root';
  t.test('another user gets nothing', { skip }, async (t) => {
    const open = short();
    const path = join(open, 'control.sock');
    await using control = await serveControl({ path });
    t.match(await ask(path, 'GET /v1/handles'), { status: 200 });
    const program = `
      const { connect } = process.getBuiltinModule('node:net');
      process.setgid(65534);
      process.setuid(65534);
      const socket = connect(${JSON.stringify(path)});
      socket.on('connect', () => {
        process.stdout.write('connected ');
        socket.write('GET /v1/handles HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n');
      });
      socket.on('data', (data) => process.stdout.write(data));
      socket.on('error', ({ code }) => process.stdout.write(code));
      socket.on('close', () => process.stdout.write(' closed'));
    `;
    const other = async () => (await runProgram(program, { cwd: root })).stdout;
    t.equal(await other(), 'EACCES closed', 'its mode keeps it out');
    chmodSync(open, 0o755);
    chmodSync(path, 0o666);
    const outcome = await other();
    t.match(
      outcome,
      /^connected (ECONNRESET|EPIPE)? ?closed$/,
      `and so does the process: ${outcome}`,
    );
    t.equal(control.path, path);
  });
});

t.test('where the socket cannot be', async (t) => {
  const place = short();
  mkdirSync(join(place, 'open'));
  chmodSync(join(place, 'open'), 0o755);
  mkdirSync(join(place, 'own'), { mode: 0o700 });
  symlinkSync(join(place, 'own'), join(place, 'link'));
  for (const file of ['file', 'own/file.sock']) writeFileSync(join(place, file), '');
  const code = 'ERR_SOSWAP_CONTROL';
  for (const [path, message] of [
    ['open/x.sock', /its mode must be 0700/],
    ['link/x.sock', /symbolic link/],
    ['file/x.sock', /EEXIST|no directory|ENOTDIR/],
    ['own/file.sock', /no socket of this user/],
    [`own/${'x'.repeat(200)}`, /longer than 107 bytes/],
  ] as const) {
    await t.rejects(serveControl({ path: join(place, path) }), { code, message }, path);
  }
  const other = createServer().listen(join(place, 'own/taken.sock'));
  await once(other, 'listening');
  await t.rejects(serveControl({ path: join(place, 'own/taken.sock') }), {
    code,
    message: /another/,
  });
  other.close();
  for (const [options, wrong] of [
    [{ path: 'relative.sock' }, 'ERR_INVALID_ARG_TYPE'],
    [{ name: '../x' }, 'ERR_INVALID_ARG_VALUE'],
    [{ name: '' }, 'ERR_INVALID_ARG_VALUE'],
    [{ health: 1 }, 'ERR_INVALID_ARG_TYPE'],
    [{ handles: [1] }, 'ERR_INVALID_ARG_TYPE'],
    [{ port: 1 }, 'ERR_INVALID_ARG_VALUE'],
  ] as const) {
    await t.rejects(serveControl(options as never), { code: wrong }, JSON.stringify(options));
  }
  t.throws(() => joinControl(), { code: 'ERR_WORKER_UNSUPPORTED_OPERATION' });
});

t.test('no socket is left behind', async (t) => {
  const run = join(short(), 'run');
  const env = { SOSWAP_CONTROL_DIR: run };
  const program = (more: string) => `
    import { serveControl } from 'soswap/control';
    await serveControl({ name: 'left' });
    console.log('serving');
    ${more}
  `;
  t.match(
    await runProgram(program(''), { cwd: root, env }),
    exitedCleanly,
    'it keeps nothing alive',
  );
  t.same(readdirSync(run), []);
  t.match(await runProgram(program('process.exit();'), { cwd: root, env }), exitedCleanly);
  t.same(readdirSync(run), []);
  const lives = 'setInterval(() => {}, 1000);';
  const killed = new Running(['--input-type=module', '--eval', program(lives)], { cwd: root, env });
  await killed.says(/serving/);
  const [stale] = readdirSync(run);
  await killed.end('SIGKILL');
  t.ok(existsSync(join(run, stale as string)));
  t.match(await runProgram(program(''), { cwd: root, env }), exitedCleanly);
  t.same(readdirSync(run), [], 'the next one has removed it');
});
