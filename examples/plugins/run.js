// Twenty plug-ins and the core that they need, in one directory: added, replaced, removed and refused while calls go on.
//
//   npm run example:plugins            from a checkout: builds the package first
//   node examples/plugins/run.js       [--plugins 20] [--verbose]

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { install, loaded } from 'soswap';
import { PluginHost } from './host.js';

const { values } = parseArgs({
  options: {
    plugins: { type: 'string', default: '20' },
    verbose: { type: 'boolean', default: false },
  },
});
const plugins = Number(values.plugins);
const sources = fileURLToPath(new URL('.', import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), 'soswap-plugins-'));
process.on('exit', () => rmSync(temporary, { recursive: true }));
process.once('SIGINT', () => process.exit(130)).once('SIGTERM', () => process.exit(143));
const directory = join(temporary, 'plugins');
mkdirSync(directory);

/** Compiles one source, and puts it into the directory in one step. */
async function deploy(/** @type {string} */ name, /** @type {string[]} */ ...flags) {
  const source = name === 'libcore.so' ? 'core.c' : 'plugin.c';
  const needed =
    name === 'libcore.so' ? ['-Wl,-soname,libcore.so'] : [join(directory, 'libcore.so')];
  const output = join(temporary, name);
  const args = [
    '-shared',
    '-fPIC',
    '-O1',
    join(sources, source),
    ...flags,
    ...needed,
    '-o',
    output,
  ];
  await promisify(execFile)('cc', args);
  await install(output, join(directory, name));
}

const nameOf = (/** @type {number} */ number) => `tax-${String(number).padStart(2, '0')}.so`;
const events = /** @type {string[]} */ ([]);
const log = (/** @type {string} */ text) => {
  events.push(text);
  if (values.verbose) console.log(text);
};

const amount = 1234.56;

/** Whether this is the tax of a release and a rate, as core.c and plugin.c have it. */
function isTax(
  /** @type {number} */ tax,
  /** @type {number} */ release,
  /** @type {number} */ rate,
) {
  const exact = (amount * rate) / 100;
  const rounded = release % 2 === 1 ? Math.round(exact * 100) / 100 : Math.floor(exact);
  return Math.abs(tax - rounded) < 1e-6;
}

// What each plug-in may answer: the rates that were deployed under its name.
const rates = /** @type {Map<string, Set<number>>} */ (new Map());
const deployPlugin = async (/** @type {number} */ number, /** @type {number} */ rate) => {
  rates.set(nameOf(number), (rates.get(nameOf(number)) ?? new Set()).add(rate));
  await deploy(nameOf(number), `-DRATE=${rate}`);
};

await deploy('libcore.so', '-DRELEASE=1');
for (let number = 1; number <= plugins; number++) await deployPlugin(number, number);

const host = new PluginHost(directory, log);
let calls = 0;
let wrong = 0;
let serves = true;
/** Calls all plug-ins again and again. All of one round must have the core that runs. */
const serving = (async () => {
  for (; serves; await sleep(1)) {
    const { release } = host;
    for (const name of host.names) {
      const answer = host.tax(name, amount);
      const good = [...(rates.get(name) ?? [])].some((rate) => isTax(answer.tax, release, rate));
      if (!good || answer.release !== release) wrong++;
      calls++;
    }
  }
})();

/** Waits for what the host does about the last change. */
async function until(/** @type {string} */ what, /** @type {() => boolean} */ isDone) {
  for (const end = Date.now() + 20_000; !isDone(); await sleep(5)) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
  }
  console.log(what);
}
const told = (/** @type {string} */ text) => events.some((event) => event.startsWith(text));
const runs = (/** @type {number} */ number, /** @type {number} */ rate) => () =>
  isTax(host.tax(nameOf(number), amount).tax, host.release, rate);

console.log(`${host.names.length} plug-ins run with release ${host.release} of the core`);
await deployPlugin(3, 33);
await until('a plug-in is replaced', runs(3, 33));
await deploy('libcore.so', '-DRELEASE=2');
await until('the core is replaced, and all plug-ins with it', () => host.release === 2);
await deployPlugin(plugins + 1, 50);
await until('a plug-in is added', () => host.names.includes(nameOf(plugins + 1)));
rmSync(join(directory, nameOf(5)));
await until('a plug-in is removed', () => !host.names.includes(nameOf(5)));
await deploy('libcore.so', '-DRELEASE=3', '-Dcore_round=core_floor');
await until('a core without what the plug-ins need is refused', () => told('refused libcore.so'));
await deploy(nameOf(7), '-Dtax=toll');
await until('a plug-in without its function is refused', () => told(`refused ${nameOf(7)}`));
await deploy(nameOf(plugins + 2), '-Dcore_release=core_edition');
await until('a new plug-in that needs more is refused', () =>
  told(`refused ${nameOf(plugins + 2)}`),
);
await Promise.all([deploy('libcore.so', '-DRELEASE=4'), deployPlugin(7, 77), deployPlugin(9, 99)]);
await until('all is well again', () => host.release === 4 && runs(7, 77)() && runs(9, 99)());

serves = false;
await serving;
host.close();
await until('all is closed', () => loaded().length === 0); // the last swap may still unmap old images
console.log(`calls: ${calls}`);
console.log(`wrong answers: ${wrong}`);
console.log(`images that are left: ${loaded().length}`);
process.exitCode = wrong === 0 && loaded().length === 0 ? 0 : 1;
