import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename } from 'node:path';
import { type DirectoryOptions, loaded, SoHandle, watchDirectory } from 'soswap';
import t, { type Test } from 'tap';
import { compile, twoBuilds } from '../fixtures/build.js';
import { Gate } from '../fixtures/gate.js';
import { soon, until } from '../fixtures/until.js';

const { one, two } = twoBuilds(t.testdir(), 'gate.c');
const definitions = {
  pass: { arguments: ['pointer'], return: 'int32', nonblocking: true },
  version: { return: 'string' },
} as const;
type Definitions = typeof definitions;

/** A watch of a directory with these libraries, and what it calls. */
function watched(t: Test, names: string[], more: DirectoryOptions<Definitions> = {}) {
  const root = t.testdir({ plugins: {} });
  const directory = `${root}/plugins`;
  for (const name of names) copyFileSync(one, `${directory}/${name}`);
  const log: string[] = [];
  const told = (what: string, path: string) => log.push(`${what} ${basename(path)}`);
  const plugins = watchDirectory(directory, {
    definitions,
    settle: 5,
    opened: ({ path }) => told('opened', path),
    swapped: ({ path }, { generation }) => told(`swapped ${generation}`, path),
    closed: ({ path }, { unmapped }) => told(`closed ${unmapped}`, path),
    refused: ({ code, path }) => told(code, path),
    ...more,
  });
  t.teardown(() => plugins.closeAsync());
  const next = async (...events: string[]) => {
    await until(`it tells ${events}`, () => log.length >= events.length);
    t.same(log.splice(0).sort(), events.sort());
  };
  return { root, directory, plugins, log, next };
}

t.test('what is there is opened, what changes is swapped, what goes is closed', async (t) => {
  const { directory, plugins, next } = watched(t, ['a.so', 'b.so', 'c.txt', '.d.so']);
  await plugins.ready;
  await next('opened a.so', 'opened b.so');
  const a = plugins.handles.get(`${directory}/a.so`);
  t.equal(a?.functions.version(), 'build 1111');
  t.equal(plugins.handles.size, 2);

  copyFileSync(one, `${directory}/e.so`);
  await next('opened e.so');
  copyFileSync(one, `${directory}/new`);
  renameSync(`${directory}/new`, `${directory}/f.so`);
  await next('opened f.so');

  copyFileSync(two, `${directory}/new`);
  renameSync(`${directory}/new`, `${directory}/a.so`);
  await next('swapped 2 a.so');
  t.equal(a?.functions.version(), 'build 2222');

  rmSync(`${directory}/a.so`);
  await next('closed true a.so');
  t.same([a?.closed, plugins.handles.size], [true, 3]);
  copyFileSync(one, `${directory}/a.so`);
  await next('opened a.so');
  t.not(plugins.handles.get(`${directory}/a.so`), a, 'another handle');
  renameSync(`${directory}/a.so`, `${directory}/g.so`);
  await next('closed true a.so', 'opened g.so');

  const handles = [...plugins.handles.values()];
  await plugins.closeAsync();
  t.ok(handles.every(({ closed }) => closed));
  t.same(loaded(), []);
});

t.test('a file that is refused is tried again when it changes', async (t) => {
  const { directory, plugins, next } = watched(t, []);
  await plugins.ready;
  writeFileSync(`${directory}/a.so`, 'rubbish');
  await next('ERR_SOSWAP_NOT_ELF a.so');
  t.equal(plugins.handles.size, 0);
  copyFileSync(one, `${directory}/a.so`);
  await next('opened a.so');
  writeFileSync(`${directory}/a.so`, 'rubbish');
  await next('ERR_SOSWAP_NOT_ELF a.so');
  t.equal(plugins.handles.get(`${directory}/a.so`)?.functions.version(), 'build 1111');
  mkdirSync(`${directory}/b.so`);
  await next('ERR_SOSWAP_NOT_A_FILE b.so');
});

t.test('a library whose constructor crashes is refused, and the others are open', async (t) => {
  const { directory, plugins, next } = watched(t, ['a.so'], {
    definitions: { version: definitions.version } as never,
    open: (path) => ({ quarantine: path.endsWith('b.so'), verify: ({ version }) => !!version() }),
  });
  compile('begins.c', `${directory}/b.so`, '-DLINE=2222', '-DBEGIN=*nowhere = 0');
  await plugins.ready;
  await next('opened a.so', 'ERR_SOSWAP_QUARANTINE b.so');
});

t.test('a library whose file has gone is closed when its calls have returned', async (t) => {
  const { directory, plugins, next, log } = watched(t, ['a.so', 'b.so']);
  await plugins.ready;
  await next('opened a.so', 'opened b.so');
  const closing = plugins.handles.get(`${directory}/a.so`)!;
  const gate = new Gate();
  const call = closing.functions.pass(gate.words);
  await gate.arrival();
  const missing = once(closing, 'missing', soon());
  rmSync(`${directory}/a.so`);
  rmSync(`${directory}/b.so`);
  await next('closed true b.so');
  await missing; // each file has a watch of its own
  copyFileSync(two, `${directory}/a.so`); // it comes again before the old one is closed
  gate.open();
  t.equal(await call, 1111);
  await until('it is open again', () => log.length === 2);
  t.same(log.splice(0), ['closed true a.so', 'opened a.so']);
});

t.test('the directory may be another one, may go, and may come again', async (t) => {
  const root = t.testdir({ first: {}, second: {} });
  for (const name of ['first/a.so', 'first/b.so', 'second/a.so']) {
    copyFileSync(name === 'second/a.so' ? two : one, `${root}/${name}`);
  }
  symlinkSync('first', `${root}/now`);
  const log: string[] = [];
  const plugins = watchDirectory(`${root}/now`, {
    settle: 5,
    opened: ({ path }) => log.push(`opened ${basename(path)}`),
    swapped: ({ path }) => log.push(`swapped ${basename(path)}`),
    closed: ({ path }) => log.push(`closed ${basename(path)}`),
  });
  t.teardown(() => plugins.closeAsync());
  const next = async (...events: string[]) => {
    await until(`it tells ${events}`, () => log.length >= events.length);
    t.same(log.splice(0).sort(), events.sort());
  };
  await next('opened a.so', 'opened b.so');
  symlinkSync('second', `${root}/next`);
  renameSync(`${root}/next`, `${root}/now`);
  await next('swapped a.so', 'closed b.so');
  copyFileSync(one, `${root}/second/c.so`);
  await next('opened c.so');
  rmSync(`${root}/now`);
  await next('closed a.so', 'closed c.so');
  symlinkSync('first', `${root}/now`);
  await next('opened a.so', 'opened b.so');
});

t.test('close() ends the watch and leaves the handles open', async (t) => {
  const { directory, plugins, next, log } = watched(t, ['a.so'], { match: /^[ab]\.so$/g });
  await plugins.ready;
  await next('opened a.so');
  const [handle] = plugins.handles.values();
  plugins.close();
  plugins[Symbol.dispose]();
  copyFileSync(one, `${directory}/b.so`);
  copyFileSync(two, `${directory}/a.so`);
  using witness = watchDirectory(directory, { settle: 5, match: (name) => name === 'b.so' });
  await witness.ready;
  t.same([log, handle?.generation, handle?.closed], [[], 1, false]);
  await witness.closeAsync();
  await plugins.closeAsync({ timeout: 1000 });
  t.equal(handle?.closed, true);
});

t.test('wrong arguments', async (t) => {
  const directory = t.testdir();
  const wrong = (options: unknown) => () => watchDirectory(directory, options as object);
  const code = 'ERR_INVALID_ARG_VALUE';
  t.throws(wrong({ open_: 1 }), { code, message: /did you mean 'open'/ });
  t.throws(wrong({ open: { scpoe: 1 } }), { code, message: /options.open.scpoe.*'scope'/ });
  t.throws(wrong({ open: { scope: 1 } }), { code, message: /"options.open.scope"/ });
  t.throws(wrong({ definitions: { quote: { args: [] } } }), { code, message: /'arguments'/ });
  for (const key of ['opened', 'closed', 'swapped', 'refused', 'match', 'settle', 'definitions']) {
    t.throws(wrong({ [key]: 'text' }), { code: 'ERR_INVALID_ARG_TYPE' }, key);
  }
  t.throws(() => watchDirectory(`${directory}/none`), { code: 'ERR_SOSWAP_NOT_FOUND' });
  t.throws(() => watchDirectory(one), { code: 'ERR_SOSWAP_NOT_A_FILE' });
  t.throws(() => watchDirectory(1 as never), { code: 'ERR_INVALID_ARG_TYPE' });
  t.same(readdirSync(directory), []);
  const handle = SoHandle.open(one);
  handle.close();
});
