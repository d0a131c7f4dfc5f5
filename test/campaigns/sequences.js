// Does random things with handles, and compares each answer with that of a model.
//
//   npm run build
//   node test/campaigns/sequences.js                      10,000 sequences
//   … test/campaigns/sequences.js --sequences 300 --seed 7
//
// Prints the seed, and at the first wrong answer the sequence and what was done in it; then it exits with 1. Sequence N of
// a seed is always the same one. Ctrl-C ends it after the sequence that runs.

import { copyFileSync, mkdtempSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { loaded, SoHandle } from 'soswap';
import { compile } from '../../fixtures/compile.js';
import { randomOf } from '../../fixtures/random.js';
import { until } from '../../fixtures/until.js';

const { values } = parseArgs({
  options: {
    sequences: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log('usage: node test/campaigns/sequences.js [--sequences N] [--seed S]');
  process.exit(0);
}
const sequences = Number(values.sequences);
const seed = Number(values.seed);
const directory = mkdtempSync(join(tmpdir(), 'soswap-sequences-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
let interrupted = false;
process.once('SIGINT', () => {
  interrupted = true;
});

const builds = new Map(
  [1111, 2222].map((line) => [
    line,
    compile('gate.c', join(directory, `${line}`), `-DLINE=${line}`),
  ]),
);
const definitions = {
  count: { return: 'int32' },
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
  version: { return: 'string' },
};

class Wrong extends Error {}

function same(what, actual, expected) {
  const [is, should] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (is !== should) throw new Wrong(`${what}: ${is} instead of ${should}`);
}

/** What `work` resolves with, or the code that it fails with. */
async function outcome(work) {
  try {
    return { value: await work() };
  } catch (error) {
    if (error.code === undefined) throw error;
    return { code: error.code, outcome: error.outcome };
  }
}

const broken = ['ERR_SOSWAP_TRUNCATED', 'ERR_SOSWAP_NOT_FOUND', 'ERR_SOSWAP_MALFORMED'];

/** One path, the handles on it, and what all of them must answer. */
class Sequence {
  #random;
  #path;
  /** What is at the path: a build, or null; which file that is; how often it was written. */
  #file = { build: 1111, inode: 0 };
  #handles = [];
  #calls = [];
  log = [];

  constructor(random, path) {
    this.#random = random;
    this.#path = path;
    copyFileSync(builds.get(1111), path);
  }

  #pick(list) {
    return list[Math.floor(this.#random() * list.length)];
  }

  async run() {
    await this.#open('openAsync');
    const actions = [
      'open',
      'openAsync',
      'call',
      'call',
      'begin',
      'begin',
      'end',
      'swap',
      'swap',
      'swap',
      'swapSync',
    ];
    actions.push(
      'replace',
      'replace',
      'overwrite',
      'break',
      'remove',
      'close',
      'symbol',
      'bind',
      'status',
      'status',
    );
    for (let length = 4 + this.#random() * 20; length > 0; length--) {
      const action = this.#random() < 0.004 ? 'worker' : this.#pick(actions);
      await this.#do(action, this.#pick(this.#handles), this.#pick(['close-first', 'open-first']));
    }
    while (this.#calls.length > 0) await this.#end();
    for (const handle of this.#handles) this.#close(handle);
    await until('all images are gone', () => loaded().length === 0).catch((error) => {
      throw new Wrong(`${error.message}: ${JSON.stringify(loaded())}`);
    });
  }

  async #do(action, handle, order) {
    this.log.push(`${action} handle ${this.#handles.indexOf(handle)}, ${order}`);
    const { so } = handle;
    const code = handle.closed ? 'ERR_SOSWAP_CLOSED' : undefined;
    switch (action) {
      case 'open':
      case 'openAsync':
        return this.#handles.length < 4 && this.#open(action);
      case 'call':
        if (handle.closed)
          return same(action, await outcome(() => so.functions.count()), {
            code,
            outcome: 'unchanged',
          });
        same('version()', so.functions.version(), `build ${handle.build}`);
        return same('count()', so.functions.count(), ++handle.count);
      case 'begin':
        return handle.closed || this.#begin(handle);
      case 'end':
        return this.#end();
      case 'swap':
      case 'swapSync':
        return this.#swap(action, handle, order);
      case 'replace':
        return this.#replace(this.#pick([1111, 2222]));
      case 'overwrite':
        if (this.#file.build === null && this.#missing()) return undefined;
        this.#file.build = this.#pick([1111, 2222]);
        return copyFileSync(builds.get(this.#file.build), this.#path);
      case 'break':
        if (this.#missing()) return undefined;
        this.#file.build = null;
        return truncateSync(this.#path, 2000);
      case 'remove':
        this.#file = { build: null, inode: -1 };
        return rmSync(this.#path, { force: true });
      case 'close':
        return this.#close(handle);
      case 'symbol': {
        const found = await outcome(() => so.getSymbol('count') > so.image.base);
        return same(
          'getSymbol()',
          found,
          handle.closed ? { code, outcome: 'unchanged' } : { value: true },
        );
      }
      case 'bind': {
        const called = await outcome(() => so.getFunction('called', { return: 'int32' })());
        return same(
          'getFunction()',
          called,
          handle.closed ? { code, outcome: 'unchanged' } : { value: handle.build },
        );
      }
      case 'status':
        return handle.closed || same('status()', so.status(), this.#statusOf(handle));
      case 'worker':
        return this.#work();
    }
  }

  #missing() {
    return this.#file.inode === -1;
  }

  #replace(build) {
    copyFileSync(builds.get(build), `${this.#path}.new`);
    renameSync(`${this.#path}.new`, this.#path);
    this.#file = { build, inode: `${statSync(this.#path).ino} ${this.log.length}` };
  }

  #statusOf({ file, build }) {
    if (this.#missing()) return 'missing';
    if (this.#file.build === build) return 'current';
    return file === this.#file.inode ? 'overwritten' : 'replaced';
  }

  async #open(how) {
    const opened = await outcome(() => SoHandle[how](this.#path, definitions));
    if (this.#file.build === null) return same(how, broken.includes(opened.code), true);
    same(how, opened.code, undefined);
    const handle = { so: opened.value, count: 0, generation: 1, closed: false };
    this.#handles.push(handle);
    return this.#take(handle);
  }

  #take(handle) {
    handle.build = this.#file.build;
    handle.file = this.#file.inode;
    handle.count = 0;
  }

  /** Fewer than the pool has threads. */
  async #begin(handle) {
    if (this.#calls.length >= 3) return;
    const gate = new Int32Array(new SharedArrayBuffer(8));
    const call = { handle, generation: handle.generation, build: handle.build, gate };
    call.ended = handle.so.functions.pass(gate);
    this.#calls.push(call);
    await until('the call has begun', () => Atomics.load(gate, 0) === 1);
  }

  async #end() {
    const call = this.#pick(this.#calls);
    if (call === undefined) return;
    this.#calls.splice(this.#calls.indexOf(call), 1);
    Atomics.store(call.gate, 1, 1);
    same('a nonblocking call', await call.ended, call.build);
  }

  /** Lets all calls end: the process cannot exit while a thread of the pool waits at a gate. */
  openGates() {
    for (const { gate } of this.#calls) Atomics.store(gate, 1, 1);
  }

  #inFlight(handle) {
    return this.#calls.some(
      (call) => call.handle === handle && call.generation === handle.generation,
    );
  }

  async #swap(how, handle, order) {
    const { so } = handle;
    const options = how === 'swap' ? { order, timeout: 2 } : { order };
    const swapped = await outcome(() => so[how](options));
    const isBusy = this.#inFlight(handle) && (how === 'swapSync' || order === 'close-first');
    if (handle.closed)
      return same(how, swapped, { code: 'ERR_SOSWAP_CLOSED', outcome: 'unchanged' });
    if (how === 'swapSync' && isBusy) return same(how, swapped.code, 'ERR_SOSWAP_BUSY');
    if (this.#file.build === null)
      return same(how, [broken.includes(swapped.code), swapped.outcome], [true, 'unchanged']);
    if (isBusy) return same(how, swapped, { code: 'ERR_SOSWAP_BUSY', outcome: 'unchanged' });
    const { value: report, code } = swapped;
    same(how, code, undefined);
    const reasons = this.#inFlight(handle) ? ['calls-in-flight'] : [];
    same(
      `${how}, ${order}`,
      [report.generation, report.retained.map((each) => each.code)],
      [++handle.generation, reasons],
    );
    return this.#take(handle);
  }

  #close(handle) {
    if (this.#inFlight(handle)) {
      try {
        handle.so.close();
      } catch ({ code }) {
        return same('close()', code, 'ERR_SOSWAP_BUSY');
      }
      throw new Wrong('close() closed a handle with a call in flight');
    }
    handle.closed = true;
    return same('close()', handle.so.close().unmapped, true);
  }

  async #work() {
    if (this.#file.build === null) return;
    const program = `
      const { SoHandle } = await import('soswap');
      const { parentPort } = await import('node:worker_threads');
      const so = SoHandle.open(${JSON.stringify(this.#path)}, ${JSON.stringify(definitions)});
      await so.swap({ order: 'open-first' });
      parentPort.postMessage(so.functions.version());`;
    const url = new URL(
      `data:text/javascript,${encodeURIComponent(program.replace("'soswap'", JSON.stringify(import.meta.resolve('soswap'))))}`,
    );
    const worker = new Worker(url);
    const messages = [];
    worker.on('message', (message) => messages.push(message));
    await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject));
    same('a worker', messages, [`build ${this.#file.build}`]);
  }
}

console.log(`seed ${seed}`);
let done = 0;
for (; done < sequences && !interrupted; done++) {
  const path = join(directory, 'lib.so');
  rmSync(path, { force: true });
  const sequence = new Sequence(randomOf(Math.imul(seed, 0x01000193) + done), path);
  try {
    await sequence.run();
  } catch (error) {
    console.error(`seed ${seed}, sequence ${done}:\n  ${sequence.log.join('\n  ')}`);
    console.error(error instanceof Wrong ? error.message : error);
    sequence.openGates();
    process.exit(1);
  }
}
console.log(`${done} sequences, nothing wrong`);
if (interrupted) process.exitCode = 130;
