// Deploys one build after the other to a cluster that is under load, some of them bad.
//
//   npm run example:cluster                    from a checkout: builds the package first
//   node examples/cluster/run.js --help

import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const usage = `usage: node examples/cluster/run.js [--deployments N] [--processes N] [--clients N]

Starts a service of several processes, asks it without a pause, and deploys another build of its library again and again;
each twentieth one is bad. Needs a C compiler (cc). Ctrl-C ends it.

  --deployments N  so many; default 200
  --processes N    of the service; default 4
  --clients N      so many requests at the same time; default 16
`;

const { values } = parseArgs({
  options: {
    deployments: { type: 'string', default: '200' },
    processes: { type: 'string', default: '4' },
    clients: { type: 'string', default: '16' },
    help: { type: 'boolean', short: 'h' },
  },
});
if (values.help) {
  process.stdout.write(usage);
  process.exit();
}

const here = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url));
const packageFile = createRequire(import.meta.url).resolve('soswap/package.json');
const command = join(dirname(packageFile), 'dist/cli/main.js');
const directory = mkdtempSync(join(tmpdir(), 'soswap-cluster-'));
const environment = { ...process.env, SOSWAP_CONTROL_DIR: join(directory, 'run') };
const library = join(directory, 'libpricing.so');

/** The builds that may answer: one, or two while a deployment is under way. */
let allowed = new Set([0]);
const told = { answered: 0, failed: 0, wrong: 0, deployed: 0, refused: 0 };
let isOver = false;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    isOver = true;
  });
}

try {
  await run();
} finally {
  rmSync(directory, { recursive: true });
}

async function run() {
  for (const build of [0, 1]) compile(`build${build}.so`, `-DBUILD=${build}`);
  compile('bad.so', '-DBUILD=2', '-Dbuild=renamed'); // the service needs build()
  copyFileSync(join(directory, 'build0.so'), library);
  const service = spawn(process.execPath, [here('service.js'), library, values.processes], {
    env: environment,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [line] = await once(service.stdout, 'data');
  const { port } = JSON.parse(String(line));
  const agent = new Agent({ keepAlive: true });
  const clients = Array.from({ length: Number(values.clients) }, () => client(port, agent));
  console.log(`${values.processes} processes answer on port ${port}`);

  let build = 0;
  for (let number = 1; number <= Number(values.deployments) && !isOver; number++) {
    if (number % 20 === 0) {
      const { code, stderr } = await deploy('bad.so');
      if (code !== 1) throw new Error(`a bad build ended with ${code}: ${stderr}`);
      told.refused++;
    } else {
      const next = 1 - build;
      allowed = new Set([...allowed, next]);
      const { code, stdout, stderr } = await deploy(`build${next}.so`);
      if (code !== 0)
        throw new Error(`deployment ${number} ended with ${code}: ${stdout}${stderr}`);
      allowed = new Set([next]); // what is asked from now on must be answered by the new build
      build = next;
      told.deployed++;
    }
    if (number % 50 === 0) console.log(`${number} deployments: ${told.answered} requests answered`);
  }
  isOver = true;
  await Promise.all(clients);
  agent.destroy();
  service.stdin.end();
  const [exitCode] = await once(service, 'exit');
  console.log(`
deployments: ${told.deployed}, refused builds: ${told.refused}
requests answered: ${told.answered}
failed requests: ${told.failed}
answers of a build that was not deployed any more: ${told.wrong}
exit code of the service: ${exitCode}`);
  process.exitCode = told.failed + told.wrong > 0 || exitCode !== 0 ? 1 : 0;
}

/** One client: asks until it is over. */
async function client(/** @type {number} */ port, /** @type {Agent} */ agent) {
  while (!isOver) {
    const before = allowed;
    try {
      const { build } = JSON.parse(await ask(port, agent));
      told.answered++;
      if (!before.has(build) && !allowed.has(build)) told.wrong++;
    } catch {
      told.failed++;
    }
  }
}

/** @returns {Promise<string>} */
function ask(/** @type {number} */ port, /** @type {Agent} */ agent) {
  return new Promise((resolve, reject) => {
    const request = get({ port, host: '127.0.0.1', agent }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more) => {
        text += more;
      });
      response.on('end', () => resolve(text)).on('error', reject);
    });
    request.on('error', reject);
  });
}

/**
 * What a deployment script does: one command, whose exit code says what runs.
 *
 * @returns {Promise<{ code: number, stdout: string, stderr: string }>}
 */
function deploy(/** @type {string} */ build) {
  const args = [
    'deploy',
    join(directory, build),
    library,
    '--name',
    'pricing',
    '--order',
    'open-first',
  ];
  return new Promise((resolve) => {
    execFile(process.execPath, [command, ...args], { env: environment }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

function compile(/** @type {string} */ name, /** @type {string[]} */ ...flags) {
  const all = ['-shared', '-fPIC', '-O2', ...flags, here('pricing.c'), '-o', join(directory, name)];
  execFileSync('cc', all, { stdio: 'inherit' });
}
