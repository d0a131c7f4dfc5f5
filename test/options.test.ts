import { copyFileSync } from 'node:fs';
import { limitRetained, loaded, SoHandle, swapAll } from 'soswap';
import * as dl from 'soswap/dl';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';

// What a TypeScript program cannot write and a JavaScript program can.
type Loose = (...values: unknown[]) => unknown;
const loosely = (call: unknown): Loose => call as Loose;

const root = t.testdir({ builds: {}, run: {} });
const { so: path, one, two } = copyBuilds(twoBuilds(`${root}/builds`), `${root}/run`);
const so = SoHandle.open(path, { count: { return: 'int32' } });
const handle = dl.dlopen(one);
const address = dl.dlsym(handle, 'quote');
t.teardown(() => dl.dlclose(handle));

const open = loosely(SoHandle.open);
const openAsync = loosely(SoHandle.openAsync);
const ofHandle = (method: 'getFunction' | 'prepare' | 'swap' | 'swapSync' | 'watch') =>
  loosely(so[method].bind(so));

interface Place {
  readonly where: string;
  readonly call: (options: object) => unknown;
  readonly name?: string;
  /** A misspelling, and the option that is nearest to it. */
  readonly typo: readonly [string, string];
}

const places: Place[] = [
  { where: 'open', call: (o) => open(path, {}, o), typo: ['scpoe', 'scope'] },
  { where: 'openAsync', call: (o) => openAsync(path, {}, o), typo: ['timout', 'timeout'] },
  {
    where: 'maxRetained',
    name: 'options.maxRetained',
    call: (o) => open(path, {}, { maxRetained: o }),
    typo: ['image', 'images'],
  },
  {
    where: 'the default options of swaps',
    name: 'options.swap',
    call: (o) => open(path, {}, { swap: o }),
    typo: ['odrer', 'order'],
  },
  {
    where: 'the quarantine of open',
    name: 'options.quarantine',
    call: (o) => open(path, {}, { quarantine: o }),
    typo: ['execpath', 'execPath'],
  },
  { where: 'swap', call: ofHandle('swap'), typo: ['verfy', 'verify'] },
  { where: 'swapSync', call: ofHandle('swapSync'), typo: ['odrer', 'order'] },
  { where: 'prepare', call: ofHandle('prepare'), typo: ['singal', 'signal'] },
  {
    where: 'swapAll',
    call: (o) => loosely(swapAll)([so], o),
    typo: ['quarentine', 'quarantine'],
  },
  {
    where: 'quarantine',
    name: 'options.quarantine',
    call: (o) => ofHandle('swap')({ quarantine: o }),
    typo: ['Timeout', 'timeout'],
  },
  { where: 'watch', call: ofHandle('watch'), typo: ['persistant', 'persistent'] },
  {
    where: 'the swaps of watch',
    name: 'options.swap',
    call: (o) => ofHandle('watch')({ swap: o }),
    typo: ['load_on', 'loadOn'],
  },
  { where: 'limitRetained', name: 'limit', call: loosely(limitRetained), typo: ['byte', 'bytes'] },
  {
    where: 'a definition',
    name: 'quote',
    call: (o) => open(path, { quote: o }),
    typo: ['nonblock', 'nonblocking'],
  },
  {
    where: 'getFunction',
    name: 'quote',
    call: (o) => ofHandle('getFunction')('quote', o),
    typo: ['retrun', 'return'],
  },
  {
    where: 'functionAt',
    name: `0x${address.toString(16)}`,
    call: (o) => loosely(dl.functionAt)(address, o),
    typo: ['args', 'arguments'],
  },
];

for (const { where, call, name = 'options', typo } of places) {
  t.test(`${where}: a misspelt option is refused, and the nearest is named`, async (t) => {
    const [wrong, meant] = typo;
    for (const value of [true, undefined]) {
      await t.rejects(async () => call({ [wrong]: value }), {
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_VALUE',
        message: `The argument "${name}.${wrong}" is unknown; did you mean '${meant}'? Known are `,
      });
    }
    const far = {
      code: 'ERR_INVALID_ARG_VALUE',
      message: new RegExp(`Known are .*\\b${meant}\\b`),
    };
    await t.rejects(async () => call({ frobnicate: 1 }), far, 'all are named if none is near');
    await t.rejects(async () => call({ ['x'.repeat(1000)]: 1 }), far);
    await t.rejects(async () => call({ hasOwnProperty: 1 }), far, 'what objects inherit');
  });
}

t.test('no refused call has changed anything', async (t) => {
  t.same([so.generation, loaded().length], [1, 1]);
});

t.test('open() refuses what only openAsync() takes', async (t) => {
  for (const options of [{ timeout: 5 }, { loadOn: 'main' }]) {
    const refused = { code: 'ERR_INVALID_ARG_VALUE', message: /has no effect with open\(\)/ };
    t.throws(() => open(path, {}, options), refused);
  }
});

t.test('the options of open() are those of every swap that has no own', async (t) => {
  const versions: string[] = [];
  const verify = ({ version }: { version(): string | null }) => {
    versions.push(`${version()}`);
  };
  const other = SoHandle.open(
    path,
    { version: { return: 'string' } },
    { swap: { order: 'open-first', verify, timeout: 5000 } },
  );
  copyFileSync(two, path);
  t.equal((await other.swap()).order, 'open-first');
  t.equal(other.swapSync().order, 'open-first', 'it does not take the timeout, and does not mind');
  t.equal((await other.swap({ order: 'close-first' })).order, 'close-first');
  t.equal((await swapAll([other as unknown as SoHandle]))[0]?.order, 'open-first');
  const prepared = await other.prepare();
  t.equal((await prepared.commit()).order, 'open-first');
  t.equal(
    (await other.swap({ order: undefined, verify: () => true } as object)).order,
    'open-first',
  );
  t.equal(versions.length, 5, 'the last one has a verify of its own');
  other.close();
});
