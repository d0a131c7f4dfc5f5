import { loaded, SoHandle } from 'soswap';
import t from 'tap';
import { compile, twoBuilds } from '../fixtures/build.js';
import { logOf } from '../fixtures/gate.js';
import { beginning } from '../fixtures/quarantine.js';

const directory = t.testdir();
const { so: path } = twoBuilds(directory, 'gate.c');
const log = `${directory}/log`;
const crashing = beginning(directory)('*nowhere = 0');
const sticky = compile('action.c', `${directory}/sticky.so`, '-DLINE=2222', '-Wl,-z,nodelete');
const definitions = { count: { return: 'int32' }, version: { return: 'string' } } as const;
const refusedTrial = { name: 'SoError', code: 'ERR_SOSWAP_QUARANTINE', message: /SIGSEGV/ };
const refused = { name: 'SoError', code: 'ERR_SOSWAP_VERIFY', path };

t.test('a library whose constructor crashes is refused, and the process lives', async (t) => {
  for (const quarantine of [true, { timeout: 20_000 }]) {
    const options = { quarantine };
    t.throws(() => SoHandle.open(crashing, definitions, options), refusedTrial);
    await t.rejects(SoHandle.openAsync(crashing, definitions, options), refusedTrial);
  }
  t.same(loaded(), []);
});

t.test('verify() gets the functions before the handle exists', async (t) => {
  const counts: number[] = [];
  const verify = ({ count, version }: { count(): number; version(): string | null }) => {
    counts.push(count(), count());
    return version() === 'build 1111';
  };
  for (const open of [SoHandle.open, SoHandle.openAsync]) {
    const so = await open(path, definitions, { verify, quarantine: true });
    t.same([so.generation, so.functions.count(), loaded().length], [1, 1, 1], 'a fresh image');
    so.close();
  }
  t.same(counts, [1, 2, 1, 2]);
});

t.test('what verify() refuses is unloaded', async (t) => {
  const error = new Error('prices are wrong');
  const fail = () => {
    throw error;
  };
  const lines = await logOf(log, async () => {
    t.throws(() => SoHandle.open(path, definitions, { verify: () => false }), refused);
    t.throws(() => SoHandle.open(path, {}, { verify: fail }), { ...refused, cause: error });
    const later = async () => fail();
    await t.rejects(SoHandle.openAsync(path, {}, { verify: later }), { ...refused, cause: error });
    const promise = { ...refused, message: /a promise, which only swap\(\) and openAsync\(\)/ };
    t.throws(() => SoHandle.open(path, {}, { verify: async () => true }), promise);
  });
  t.same(
    lines,
    Array.from({ length: 8 }, (_, at) => (at % 2 === 0 ? 'begin 1111' : 'end 1111')),
  );
  t.same(loaded(), []);
});

t.test('a verify() that never settles is refused at the timeout', async (t) => {
  const verify = () => new Promise<void>(() => {});
  const opening = SoHandle.openAsync(path, {}, { verify, timeout: 100, loadOn: 'main' });
  await t.rejects(opening, { ...refused, message: /did not settle within 1000 ms/ });
  t.same(loaded(), []);
});

t.test('a library that stays mapped after verify() is the one that runs', async (t) => {
  const verify = ({ count }: { count(): number }) => count() === 1;
  const so = SoHandle.open(sticky, definitions, { verify });
  t.same([so.functions.count(), loaded().length], [2, 1]);
  so.close();
});
