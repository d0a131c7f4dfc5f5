// Deploys to processes with workers, and kills processes and the deployer at random moments. After each deployment all live
// processes must run one build, and the exit code and the last line of the deployer must be true. At the end no
// socket, file or process may be left.
//
//   npm run build
//   node test/campaigns/control.js
//   … test/campaigns/control.js --processes 16 --workers 2 --deployments 500 --seed 1
//
// Prints a line for every fiftieth deployment, and the sums. Exits with 1 at the first thing that is wrong.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compile } from '../../fixtures/compile.js';
import { randomOf } from '../../fixtures/random.js';
import { until } from '../../fixtures/until.js';

const { values } = parseArgs({
  options: {
    processes: { type: 'string', default: '16' },
    workers: { type: 'string', default: '2' },
    deployments: { type: 'string', default: '500' },
    seed: { type: 'string', default: `${Date.now() % 1e6}` },
  },
});
const count = Number(values.processes);
const deployments = Number(values.deployments);
const fraction = randomOf(Number(values.seed));
/** A whole number below `limit`. */
const below = (limit) => Math.floor(fraction() * limit);
const root = fileURLToPath(new URL('../..', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'soswap-control-'));
const run = join(directory, 'run');
const path = join(directory, 'so.so');
const builds = ['1', '2', '3'].map((line) =>
  compile('action.c', join(directory, `${line}.build`), `-DLINE=${line}`),
);
const bad = compile('calls.c', join(directory, 'bad.build')); // the processes need version()
copyFileSync(builds[0], path);
const { NODE_OPTIONS: _, ...inherited } = process.env;
const env = { ...inherited, SOSWAP_CONTROL_DIR: run };

/** The live processes. */
const live = new Set();
process.on('exit', () => {
  for (const child of live) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

async function start() {
  const program = join(root, 'fixtures/served.js');
  const child = spawn(process.execPath, [program, path, values.workers, 'fleet'], {
    cwd: root,
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  live.add(child);
  child.once('exit', () => live.delete(child));
  await once(child.stdout, 'data');
}

/** What a process says of itself; `undefined`: it has ended. */
function describe(child) {
  const socketPath = join(run, `fleet-${child.pid}.sock`);
  return new Promise((resolve) => {
    const asked = request({ socketPath, path: '/v1/handles', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more) => {
        text += more;
      });
      response.on('end', () => resolve(JSON.parse(text)));
      response.on('error', () => resolve(undefined));
    });
    asked.on('error', () => resolve(undefined));
    asked.end();
  });
}

/** The builds that the live processes run, and whether one waits for something. */
async function state() {
  const all = (await Promise.all([...live].map(describe))).filter((each) => each !== undefined);
  const handles = all.flatMap((each) => each.handles);
  return {
    builds: [...new Set(handles.map(({ buildId }) => buildId))],
    waits: all.some(({ waiting }) => waiting > 0),
    handles: handles.length,
  };
}

function fail(message) {
  console.error(`seed ${values.seed}: ${message}`);
  process.exit(1);
}

/** Deploys; `kill`: ends the deployer, or a process, after so many milliseconds. */
async function deploy(build, { killDeployer, killProcess } = {}) {
  const deployer = spawn(
    process.execPath,
    ['dist/cli/main.js', 'deploy', build, path, '--name', 'fleet', '--timeout', '2', '--json'],
    { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let stdout = '';
  let stderr = '';
  deployer.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  deployer.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const timers = [];
  if (killDeployer !== undefined)
    timers.push(setTimeout(() => deployer.kill('SIGKILL'), killDeployer));
  const victim = killProcess === undefined ? undefined : [...live][below(live.size)];
  if (victim !== undefined) {
    timers.push(setTimeout(() => victim.kill('SIGKILL'), killProcess));
  }
  const [code, signal] = await once(deployer, 'close');
  for (const timer of timers) clearTimeout(timer);
  if (victim?.killed && live.has(victim)) await once(victim, 'exit');
  const last = stdout.trimEnd().split('\n').at(-1) ?? '';
  return { code, signal, last, stdout, stderr };
}

const sums = { deployed: 0, refused: 0, mixed: 0, killedDeployers: 0, killedProcesses: 0 };
await Promise.all(Array.from({ length: count }, start));
let current = 0;
for (let round = 1; round <= deployments; round++) {
  const before = (await state()).builds;
  if (before.length !== 1) fail(`deployment ${round} begins with ${before.length} builds`);
  const isBad = below(10) === 0;
  const next = (current + 1) % builds.length;
  const what = below(4);
  const after = 30 + below(400);
  const kills = what === 0 ? { killDeployer: after } : what === 1 ? { killProcess: after } : {};
  const ended = await deploy(isBad ? bad : builds[next], kills);
  const told = `${JSON.stringify(kills)} ${JSON.stringify(ended)}`;
  if (ended.signal !== null) {
    sums.killedDeployers++;
    await until('nothing waits any more', async () => {
      const { waits, builds } = await state();
      return !waits && builds.length === 1;
    });
    await sleep(100);
  }
  const now = await state();
  if (now.builds.length !== 1)
    fail(`deployment ${round} left ${now.builds.length} builds: ${told}`);
  const isNew = now.builds[0] !== before[0];
  if (ended.signal === null) {
    const { exitCode, text } = ended.last === '' ? {} : JSON.parse(ended.last);
    if (exitCode !== undefined && exitCode !== ended.code)
      fail(`the last line is not true: ${told}`);
    if (ended.code === 0) sums.deployed++;
    else if (ended.code === 1) sums.refused++;
    else sums.mixed++;
    if (ended.code === 0 && !isNew) fail(`deployment ${round} was said to be done: ${told}`);
    if (ended.code === 1 && isNew) fail(`deployment ${round} was said to be refused: ${told}`);
    if (ended.code > 1)
      fail(`deployment ${round}: exit code ${ended.code}, and one build: ${told}`);
    if (isBad && ended.code === 0) fail(`a bad build was taken: ${text}`);
  }
  if (isNew) current = next;
  while (live.size < count) {
    sums.killedProcesses++;
    copyFileSync(builds[current], `${path}.new`);
    renameSync(`${path}.new`, path);
    await start();
  }
  if (ended.signal !== null) {
    // The file is what the deployer left; the next one makes all run the same again.
    const mended = await deploy(builds[current]);
    if (mended.code !== 0)
      fail(`the deployment after a killed deployer: ${JSON.stringify(mended)}`);
  }
  const { handles } = await state();
  const expected = count * (1 + Number(values.workers));
  if (handles !== expected) fail(`deployment ${round}: ${handles} handles, not ${expected}`);
  if (round % 50 === 0) console.log(JSON.stringify({ round, ...sums }));
}
for (const child of [...live]) {
  child.stdin.end();
  await once(child, 'exit');
}
const left = [
  ...readdirSync(run),
  ...readdirSync(directory).filter((name) => !/^(run|so\.so|.*\.build)$/.test(name)),
];
if (left.length > 0) fail(`left behind: ${left}`);
if (!existsSync(path)) fail('the library has gone');
console.log(JSON.stringify({ seed: Number(values.seed), deployments, ...sums }));
