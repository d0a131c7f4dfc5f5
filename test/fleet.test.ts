import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { twoBuilds } from '../fixtures/build.js';
import { plainNode, root } from '../fixtures/child.js';
import { MarkdownFile } from '../fixtures/markdown.js';
import { until } from '../fixtures/until.js';

// docs/fleet.md: the two steps of a deployment, carried by Redis.

const lacks = ['redis-server', 'redis-cli', 'curl'].find(
  (command) => spawnSync('sh', ['-c', `command -v ${command}`]).status !== 0,
);
if (lacks !== undefined) {
  t.plan(0, `needs ${lacks}`);
  process.exit();
}

const program = fileURLToPath(new URL('../fixtures/served.js', import.meta.url));
const [agent = '', deployer = ''] = new MarkdownFile('docs/fleet.md')
  .codeBlocks()
  .filter(({ text }) => text.startsWith('#!/bin/sh'))
  .map(({ text }) => text);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

t.test('all machines take a build, or none does', async (t) => {
  const run = mkdtempSync(join(tmpdir(), 'soswap-'));
  const builds = twoBuilds(t.testdir());
  const port = await freePort();
  const env: NodeJS.ProcessEnv = { ...process.env, REDIS_PORT: `${port}` };
  const children: ReturnType<typeof spawn>[] = [];
  t.teardown(async () => {
    // The agents, with the clients that they have started, before the broker that these would miss.
    for (const child of children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      process.kill(-(child.pid as number), 'SIGKILL');
      await ended;
    }
    rmSync(run, { recursive: true });
  });
  const start = (command: string, args: readonly string[], more: object = {}) => {
    const child = spawn(command, args, {
      cwd: run,
      env: { ...env, ...more },
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true, // a process group of its own
    });
    children.push(child);
    return child;
  };
  for (const [name, text] of [
    ['agent.sh', agent],
    ['deploy.sh', deployer],
  ] as const) {
    writeFileSync(join(run, name), text);
    chmodSync(join(run, name), 0o755);
  }
  const address = ['--bind', '127.0.0.1', '--port', `${port}`];
  start('redis-server', [...address, '--save', '', '--appendonly', 'no']);
  const isUp = () => spawnSync('redis-cli', ['-p', `${port}`, 'PING']).stdout.includes('PONG');
  await until('the broker answers', isUp);

  const libraries: string[] = [];
  const machines = ['one', 'two', 'three'];
  const versions: (() => Promise<string>)[] = [];
  for (const machine of machines) {
    const library = join(run, `${machine}.so`);
    copyFileSync(builds.one, library);
    const more = { SOSWAP_CONTROL_DIR: join(run, 'run') };
    const [command, args] = plainNode([program, library, '0', machine]);
    const service = start(command, args, { ...more, PWD: root });
    await once(service.stdout!, 'data');
    // env(1) becomes node.
    start('./agent.sh', [machine, join(run, `run/${machine}-${service.pid}.sock`), library]);
    libraries.push(library);
    versions.push(async () => {
      service.stdin?.write('version\n');
      return String((await once(service.stdout!, 'data'))[0]).trim();
    });
  }
  const deploy = async () => {
    const child = start('./deploy.sh', machines);
    let stdout = '';
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    const [code] = await once(child, 'close');
    return { code, stdout };
  };
  const install = (build: string, library: string) => {
    copyFileSync(build, `${library}.new`);
    renameSync(`${library}.new`, library);
  };
  const all = () => Promise.all(versions.map((version) => version()));

  for (const library of libraries) install(builds.two, library);
  t.match(await deploy(), { code: 0, stdout: 'all run the new build\n' });
  t.same(await all(), Array(3).fill('build 2222'));

  for (const library of libraries) install(builds.one, library);
  writeFileSync(libraries[1] as string, 'no library');
  t.match(await deploy(), { code: 1, stdout: 'two prepare failed\nall run what they ran\n' });
  t.same(await all(), Array(3).fill('build 2222'));

  install(builds.one, libraries[1] as string);
  t.match(await deploy(), { code: 0, stdout: 'all run the new build\n' });
  t.same(await all(), Array(3).fill('build 1111'));
});
