// Replaces a core and its plug-ins at random, and compares each answer with that of a model.
//
//   npm run build
//   node test/campaigns/groups.js                       1,000 replacements
//   … test/campaigns/groups.js --replacements 60 --seed 7
//
// Every file that is deployed has a serial number of its own. An answer of a plug-in has its own and that of the core that it
// is bound to: both must be of the one deployment that runs, also of calls that are in flight during a swap. Prints the
// seed, and exits with 1 at the first wrong answer.

import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loaded, SoGroup, swapAll } from 'soswap';
import { compile } from '../../fixtures/compile.js';
import { randomOf } from '../../fixtures/random.js';
import { until } from '../../fixtures/until.js';

const { values } = parseArgs({
  options: {
    replacements: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log('usage: node test/campaigns/groups.js [--replacements N] [--seed S]');
  process.exit(0);
}
const replacements = Number(values.replacements);
const seed = Number(values.seed);
const random = randomOf(seed);
const below = (count) => Math.floor(random() * count);
const oneOf = (list) => list[below(list.length)];
const maybe = (chance) => random() < chance;

const directory = mkdtempSync(join(tmpdir(), 'soswap-groups-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const at = (file) => join(directory, file);
const soname = '-Wl,-soname,libcore.so';
const builds = {
  core: readFileSync(compile('groups/serial.c', at('libcore.so'), '-DCORE', soname)),
  plugin: readFileSync(compile('groups/serial.c', at('plugin'), at('libcore.so'))),
  lacking: readFileSync(compile('groups/serial.c', at('lacking'), '-DCORE', '-DLACKING', soname)),
};
const marker = Buffer.from([0xed, 0x5e, 0xed, 0x5e]);
const core = 'libcore.so';
const most = 8; // plug-ins

let serials = 0;
let refused = 0;
/** What lies at each path, and what runs. @type {Map<string, { serial: number, broken: boolean }>} */
const files = new Map();
/** @type {Map<string, number>} */
const running = new Map();
/** @type {Map<string, import('soswap').SoHandle>} */
const handles = new Map();
/** @type {Set<Promise<void>>} */
const inFlight = new Set();
const group = new SoGroup();

class Wrong extends Error {}

function same(what, actual, expected) {
  const [is, should] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (is !== should) throw new Wrong(`${what}: ${is} instead of ${should}`);
}

/** `broken`: half of it, or a core that lacks what the plug-ins need. */
function deploy(name, broken = false) {
  const serial = ++serials;
  const lacks = broken && name === core && maybe(0.5);
  const bytes = Buffer.from(lacks ? builds.lacking : name === core ? builds.core : builds.plugin);
  bytes.writeUInt32LE(serial, bytes.indexOf(marker));
  writeFileSync(at('next'), broken && !lacks ? bytes.subarray(0, bytes.length / 2) : bytes);
  renameSync(at('next'), at(name));
  files.set(name, { serial, broken });
}

function open(name) {
  const answers = { return: 'float64' };
  const definitions =
    name === core
      ? { core_serial: { return: 'uint32' } }
      : {
          answer: answers,
          steady_answer: { arguments: ['uint32'], ...answers, nonblocking: true },
          count: { return: 'int32' },
        };
  handles.set(name, group.open(at(name), definitions));
  running.set(name, files.get(name).serial);
}

const answerOf = (name) => running.get(core) * 1e6 + running.get(name);

/** Every function answers as the one deployment does that runs. */
function check() {
  for (const [name, { functions }] of handles) {
    if (name === core) same('the core', functions.core_serial(), running.get(core));
    else same(name, functions.answer(), answerOf(name));
  }
}

/** A call that may last longer than a swap. It must see the deployment that it began with. */
function callLater() {
  const name = oneOf([...handles.keys()].filter((each) => each !== core));
  if (name === undefined) return;
  const expected = answerOf(name);
  const call = handles
    .get(name)
    .functions.steady_answer(below(3000))
    .then((answer) => same(`a call of ${name} in flight`, answer, expected));
  call.catch(() => {}).finally(() => inFlight.delete(call));
  inFlight.add(call);
}

/** Swaps in one of the ways; `names`: what must take effect, or be refused with. */
async function swap() {
  const order = oneOf(['close-first', 'open-first']);
  const verify = maybe(0.2) ? () => true : undefined;
  const options = { order, verify };
  const all = [...handles.keys()];
  const replaced = all.filter((name) => files.get(name).serial !== running.get(name));
  const [way, work, names] = oneOf([
    ['group.swap()', () => group.swap(options), replaced],
    ['swapAll()', () => swapAll(group, options), all],
    ...replaced.map((name) => [`${name}.swap()`, () => handles.get(name).swap(options), [name]]),
  ]);
  const concerned = names.includes(core) ? all : names;
  const isRefused = concerned.some((name) => files.get(name).broken);
  const counts = inFlight.size === 0 ? countsOf(all) : undefined;
  let failed;
  try {
    const reports = await work();
    if (Array.isArray(reports)) same(way, reports.length, concerned.length);
  } catch (error) {
    failed = error;
  }
  if (isRefused !== (failed !== undefined)) {
    throw new Wrong(`${way}, ${order}: ${failed?.stack ?? 'not refused'}`);
  }
  if (isRefused) {
    refused++;
    if (failed.outcome === 'unchanged' && counts !== undefined)
      same('state', countsOf(all), counts);
    return;
  }
  for (const name of concerned) running.set(name, files.get(name).serial);
}

/** What the plug-ins have in their static data. */
const countsOf = (names) =>
  names.filter((name) => name !== core).map((name) => handles.get(name).functions.count());

function addOrRemove() {
  const plugins = [...handles.keys()].filter((name) => name !== core);
  if (plugins.length < 2 || (plugins.length < most && maybe(0.5))) {
    const name = `plugin-${++serials}.so`;
    deploy(name);
    open(name);
    return;
  }
  const name = oneOf(plugins);
  const handle = handles.get(name);
  try {
    handle.close();
  } catch (error) {
    if (error.code !== 'ERR_SOSWAP_BUSY') throw error; // a call is in flight
    return;
  }
  for (const map of [handles, running, files]) map.delete(name);
}

async function main() {
  deploy(core);
  open(core);
  for (let count = 0; count < most / 2; count++) addOrRemove();
  for (let done = 0; done < replacements; ) {
    if (maybe(0.1)) addOrRemove();
    const names = [...handles.keys()];
    const some = maybe(0.3) ? [core] : [];
    for (let more = below(3) + (some.length === 0 ? 1 : 0); more > 0; more--)
      some.push(oneOf(names));
    for (const name of new Set(some)) {
      deploy(name, maybe(0.1));
      done++;
    }
    for (let calls = below(3); calls > 0; calls--) callLater();
    await swap();
    check();
    // What is broken is mended before the next one, or it would be refused for ever.
    for (const [name, { broken }] of files) if (broken && maybe(0.5)) deploy(name);
    if (maybe(0.1)) {
      await Promise.all(inFlight);
      await until('the old images are gone', () => loaded().length === handles.size);
    }
  }
  await Promise.all(inFlight);
  group.close();
  // The last swap may still unmap old images, and release their copies.
  await until('no image is left', () => loaded().length === 0);
  const isMapped = () => readFileSync('/proc/self/maps', 'utf8').includes('memfd:');
  await until('no copy is left', () => !isMapped());
  console.log(`${replacements} replacements, ${refused} swaps refused, nothing wrong`);
}

console.log(`seed ${seed}`);
try {
  await main();
} catch (error) {
  console.error(`seed ${seed}: ${error instanceof Wrong ? error.message : error.stack}`);
  process.exitCode = 1;
  process.exit();
}
