// Deploys one build of a pricing library after the other under a service that is under load.
//
//   npm run example:service                    from a checkout: builds the package first
//   node examples/service/run.js --help

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { install } from 'soswap';
import { Build, Load } from './load.js';

const usage = `usage: node examples/service/run.js [--seconds N] [--clients N] [--every MS]

Starts the service, asks it for prices without a pause, and deploys another build of its library again and again.
Needs a C compiler (cc). Ctrl-C ends it.

  --seconds N   for so long; default 10
  --clients N   so many requests at the same time; default 16
  --every MS    milliseconds between two deployments; default 250
`;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    clients: { type: 'string', default: '16' },
    every: { type: 'string', default: '250' },
    help: { type: 'boolean', short: 'h' },
  },
});
if (values.help) {
  process.stdout.write(usage);
  process.exit();
}

const here = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url));
/** The discount of a build that gives things away: verify() of the service refuses it. */
const unacceptable = 200;

const directory = mkdtempSync(join(tmpdir(), 'soswap-service-'));
try {
  await run();
} finally {
  rmSync(directory, { recursive: true });
}

async function run() {
  const ended = new AbortController();
  const timer = setTimeout(() => ended.abort(), Number(values.seconds) * 1000);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => ended.abort());

  for (const discount of [0, 10, unacceptable]) compile(discount);
  const live = join(directory, 'libpricing.so');
  copyFileSync(libraryOf(0), live);
  const service = startService(live);
  const { port, pid } = await service.says('listening');
  const builds = [new Build(0)];
  const load = new Load(`http://127.0.0.1:${port}`, builds, Number(values.clients));
  const told = { swaps: 0, refused: 0, pauses: /** @type {number[]} */ ([]) };

  /** Replaces the file and has the service take it. */
  const deploy = async (/** @type {number} */ discount, /** @type {string} */ outcome) => {
    await install(libraryOf(discount), live);
    service.swap();
    return service.says(outcome);
  };
  const deployGood = async () => {
    const previous = builds.at(-1) ?? new Build(0);
    builds.push(new Build(10 - previous.discount));
    const { pauseMicroseconds } = await deploy(10 - previous.discount, 'swapped');
    previous.until = performance.now(); // what is asked from now on must have the new price
    told.pauses.push(pauseMicroseconds);
    told.swaps++;
  };
  const deployBad = async () => {
    await deploy(unacceptable, 'refused');
    told.refused++;
  };

  console.log(`The service is process ${pid} and answers on port ${port}. Ctrl-C ends this.\n`);
  const ticker = tellEachSecond(load, told);
  for (let number = 1; !ended.signal.aborted; number++) {
    await sleep(Number(values.every), undefined, { signal: ended.signal }).catch(() => {});
    await (number % 5 === 0 ? deployBad() : deployGood());
  }
  clearTimeout(timer);
  clearInterval(ticker);
  await load.stop();
  const exitCode = await service.stop();

  const seen = [...load.discounts].map(([discount, times]) => `${times} with ${discount} % off`);
  console.log(`
requests answered: ${load.answered} (${seen.join(', ')})
failed requests: ${load.failed}
wrong prices: ${load.wrong}
swaps: ${told.swaps}, each held the service for ${median(told.pauses)} µs (median)
refused builds: ${told.refused}
exit code of the service: ${exitCode}`);
  process.exitCode = load.failed + load.wrong > 0 || exitCode !== 0 ? 1 : 0;
}

/** Prints one line of figures per second. */
function tellEachSecond(
  /** @type {Load} */ load,
  /** @type {{ swaps: number, refused: number }} */ told,
) {
  const row = (/** @type {(string | number)[]} */ ...cells) =>
    console.log(cells.map((cell) => String(cell).padStart(10)).join(' '));
  const latency = (/** @type {number} */ percentile) =>
    (load.latency.percentile(percentile) / 1e6).toFixed(2);
  row('seconds', 'requests/s', 'swaps', 'refused', 'failed', 'wrong', 'p50 ms', 'p99 ms');
  let seconds = 0;
  let before = 0;
  return setInterval(() => {
    const { answered, failed, wrong } = load;
    const { swaps, refused } = told;
    row(++seconds, answered - before, swaps, refused, failed, wrong, latency(50), latency(99));
    before = answered;
  }, 1000);
}

function compile(/** @type {number} */ discount) {
  const flags = ['-shared', '-fPIC', '-O2', `-DDISCOUNT=${discount}`];
  execFileSync('cc', [...flags, here('pricing.c'), '-o', libraryOf(discount)], {
    stdio: 'inherit',
  });
}

function libraryOf(/** @type {number} */ discount) {
  return join(directory, `pricing-${discount}.so`);
}

function startService(/** @type {string} */ library) {
  const service = spawn(process.execPath, [here('server.js'), library], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    detached: true, // Ctrl-C is for this program, which ends the service after the last answer
  });
  const exited = once(service, 'exit');
  const log = /** @type {import('node:stream').Readable} */ (service.stdout);
  const lines = createInterface({ input: log })[Symbol.asyncIterator]();
  return {
    /** The next line of its log, which must tell of this event. */
    async says(/** @type {string} */ event) {
      const { value = 'nothing: it has ended' } = await lines.next();
      if (!value.includes(`"event":"${event}"`)) throw new Error(`the service says ${value}`);
      return JSON.parse(value);
    },
    swap: () => service.kill('SIGHUP'),
    async stop() {
      service.kill('SIGTERM');
      const [code, signal] = await exited;
      return signal ?? code;
    },
  };
}

function median(/** @type {number[]} */ numbers) {
  return numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]?.toFixed(0) ?? 0;
}
