import { copyFileSync, renameSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loaded, SoGroup, type SoHandle, type SwapOrder, swapAll } from 'soswap';
import { dlclose, dlopen } from 'soswap/dl';
import t, { type Test } from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';
import { until } from '../fixtures/until.js';

// Libraries that need each other: c needs b and a, b needs a.

const orders: SwapOrder[] = ['close-first', 'open-first'];
const built = t.testdir();
const needs = { a: [], b: ['a'], c: ['b', 'a'], d: [] };
type Name = keyof typeof needs;

/** Compiles a library once for each version, as it is linked in a directory of its own kind. */
function build(name: Name, version: number | string, ...flags: string[]): string {
  const output = join(built, `${name}-${version}.so`);
  return compile('groups/member.c', output, `-DNAME=${name}`, ...flags);
}

/** Of a version that needs what its name says. */
function plain(name: Name, version: number, ...flags: string[]): string {
  const soname = `-Wl,-soname,lib${name}.so`;
  const linked = needs[name].map((needed) => join(built, `lib${needed}.so`));
  const defined = needs[name].map((needed, index) => `-DNEEDS${index > 0 ? 2 : ''}=${needed}`);
  return build(name, version, `-DVERSION=${version}`, soname, ...defined, ...linked, ...flags);
}

for (const name of ['a', 'b', 'c', 'd'] as const) {
  copyFileSync(plain(name, 1), join(built, `lib${name}.so`)); // to link with
}
for (const name of ['a', 'b', 'c'] as const) plain(name, 2);
build('a', 'refused', '-DVERSION=8', '-DREFUSED', '-Wl,-soname,liba.so');
build('c', 'refused', '-DVERSION=8', '-DREFUSED', '-Wl,-soname,libc.so');
build('a', 'cyclic', '-DVERSION=3', '-DNEEDS=c', '-Wl,-soname,liba.so', join(built, 'libc.so'));
build('a', 'of-d', '-DVERSION=4', '-DNEEDS=d', '-Wl,-soname,liba.so', join(built, 'libd.so'));
build('d', 'of-c', '-DVERSION=5', '-DNEEDS=c', '-Wl,-soname,libd.so', join(built, 'libc.so'));
build('a', 'renamed', '-DVERSION=6', '-Wl,-soname,liba.so.2');
build('b', 'lacking', '-DVERSION=7', '-DNEEDS=d', '-Wl,-soname,libb.so'); // not linked with it

/** A group in a directory of its own. */
class Members {
  readonly directory: string;
  readonly group = new SoGroup();
  readonly events: string[] = [];
  readonly handles: Record<string, SoHandle> = {};

  constructor(t: Test, names: readonly Name[] = ['a', 'b', 'c']) {
    this.directory = t.testdir();
    for (const name of names) this.deploy(name, 1);
    for (const name of names) this.open(name);
    t.teardown(() => this.group.close());
  }

  path(name: string): string {
    return join(this.directory, `lib${name}.so`);
  }

  deploy(name: Name, version: number | string): void {
    copyFileSync(join(built, `${name}-${version}.so`), join(this.directory, 'next'));
    renameSync(join(this.directory, 'next'), this.path(name));
  }

  open(name: Name): SoHandle {
    const handle = this.group.open(this.path(name), {
      [`${name}_value`]: { return: 'int32' },
      count: { return: 'int32' },
    }) as unknown as SoHandle;
    handle.on('swap', ({ generation }) => this.events.push(`${name} ${generation}`));
    handle.on('refused', ({ code, outcome }) => this.events.push(`${name} ${code} ${outcome}`));
    this.handles[name] = handle;
    return handle;
  }

  handle(name: Name): SoHandle {
    return this.handles[name] as SoHandle;
  }

  get values(): unknown[] {
    return Object.entries(this.handles).map(([name, handle]) =>
      handle.functions[`${name}_value`]?.(),
    );
  }

  get images(): unknown[] {
    return loaded().map(({ path, generation }) => `${path.slice(-4, -3)} ${generation}`);
  }
}

t.test('members are bound to each other, not to what the loader has', (t) => {
  const members = new Members(t);
  // The loader has another one under the same DT_SONAME, and would take that.
  const foreign = join(members.directory, 'foreign.so');
  copyFileSync(join(built, 'a-2.so'), foreign);
  const handle = dlopen(foreign, constants.dlopen.RTLD_NOW);
  t.teardown(() => dlclose(handle));
  t.same(members.values, [1, 11, 1111]);
  members.handle('c').swapSync();
  t.same(members.values, [1, 11, 1111]);
  t.same(
    members.group.members.map(({ path }) => path),
    ['a', 'b', 'c'].map((name) => members.path(name)),
  );
  t.end();
});

for (const order of orders) {
  t.test(`${order}: a swap of one swaps those that are bound to it`, async (t) => {
    const members = new Members(t);
    for (const handle of members.group.members) t.equal(handle.functions.count?.(), 1);
    members.deploy('a', 2);
    const report = await members.handle('a').swap({ order });
    t.match(report, { path: members.path('a'), generation: 2, unmapped: true });
    t.same(members.values, [2, 21, 2211]);
    t.same(members.events.toSorted(), ['a 2', 'b 2', 'c 2']);
    for (const handle of members.group.members) t.equal(handle.functions.count?.(), 1, 'anew');

    members.deploy('b', 2);
    await members.handle('b').swap({ order });
    t.same(members.values, [2, 22, 2221]);
    t.same(members.images, ['a 2', 'b 3', 'c 3']);
  });

  t.test(`${order}: all that were replaced take effect as one`, async (t) => {
    const members = new Members(t);
    t.same(await members.group.swap({ order }), [], 'nothing was replaced');
    members.deploy('a', 2);
    members.deploy('c', 2);
    const verified: string[] = [];
    const reports = await members.group.swap((handle) => ({
      order,
      verify: (functions) => {
        const [name, value] = Object.entries(functions)[0] ?? [];
        verified.push(`${name} ${value?.()}`);
        return handle.generation === 1;
      },
    }));
    t.match(
      reports,
      ['a', 'b', 'c'].map((name) => ({ path: members.path(name), generation: 2, unmapped: true })),
    );
    t.same(verified, ['a_value 2', 'b_value 21', 'c_value 2212'], 'each sees the new ones');
    t.same(members.values, [2, 21, 2212]);
    t.same(members.images, ['a 2', 'b 2', 'c 2']);
  });

  t.test(`${order}: a refusal anywhere changes nothing anywhere`, async (t) => {
    const members = new Members(t);
    for (const handle of members.group.members) t.equal(handle.functions.count?.(), 1);
    members.deploy('a', 2);
    members.deploy('b', 'lacking');
    await t.rejects(members.group.swap({ order }), {
      code: 'ERR_SOSWAP_UNDEFINED_SYMBOL',
      path: members.path('b'),
      symbol: 'd_value',
    });
    t.same(members.values, [1, 11, 1111]);
    for (const handle of members.group.members) t.equal(handle.functions.count?.(), 2, 'as it was');
    const refused = 'ERR_SOSWAP_UNDEFINED_SYMBOL unchanged';
    t.same(members.events, [`a ${refused}`, `b ${refused}`, `c ${refused}`]);
    t.same(members.images, ['a 1', 'b 1', 'c 1']);
  });

  t.test(`${order}: what the loader refuses takes all back`, async (t) => {
    const members = new Members(t);
    members.deploy('a', 2);
    members.deploy('c', 'refused');
    const outcome = order === 'close-first' ? 'rolled-back' : 'unchanged';
    await t.rejects(members.group.swap({ order }), {
      code: 'ERR_SOSWAP_LOADER',
      path: members.path('c'),
      outcome,
    });
    t.same(members.values, [1, 11, 1111], 'bound to each other as before');
    const refused = `ERR_SOSWAP_LOADER ${outcome}`;
    t.same(members.events, [`a ${refused}`, `b ${refused}`, `c ${refused}`]);
    t.same(members.images.toSorted(), ['a 1', 'b 1', 'c 1']);
    members.deploy('c', 2);
    await swapAll(members.group, { order });
    t.same(members.values, [2, 21, 2212]);
  });
}

t.test('calls in flight see one deployment, and hold close-first up', async (t) => {
  const members = new Members(t, ['a', 'b']);
  const steady = members
    .handle('b')
    .getFunction('steady_value', { arguments: ['uint32'], return: 'int32', nonblocking: true });
  const call = steady(50_000);
  members.deploy('a', 2);
  t.throws(() => members.handle('a').swapSync(), { code: 'ERR_SOSWAP_BUSY' }, 'of a dependent');
  const swap = members.handle('a').swap({ order: 'open-first' });
  t.throws(() => members.group.open(members.path('c')), { code: 'ERR_SOSWAP_NOT_FOUND' });
  await swap;
  t.same(members.values, [2, 21]);
  t.equal(await call, 11);
  const last = steady(50_000);
  await members.handle('a').swap();
  t.equal(await last, 21);
  t.same(members.images, ['a 3', 'b 3']);
});

t.test('a new file may need other members than before', async (t) => {
  const members = new Members(t, ['a', 'b', 'd']);
  members.deploy('a', 'of-d');
  await members.handle('a').swap();
  t.same(members.values, [14, 141, 1]);
  await members.handle('d').swap();
  t.same(members.events.slice(-3).toSorted(), ['a 3', 'b 3', 'd 2'], 'they need it now');
  t.same(
    members.group.members.map(({ path }) => path),
    ['d', 'a', 'b'].map((name) => members.path(name)),
  );

  members.deploy('c', 1);
  members.open('c');
  members.deploy('a', 2); // and d needs c now, which needs a
  members.deploy('d', 'of-c');
  await members.group.swap();
  t.same(members.values, [2, 21, 22115, 2211]);
});

t.test('what cannot be bound is refused', async (t) => {
  const members = new Members(t);
  const { group } = members;
  const unchanged = () => t.same(members.values, [1, 11, 1111]);
  members.deploy('a', 'cyclic');
  await t.rejects(group.swap(), {
    code: 'ERR_SOSWAP_DEPENDENCY_CYCLE',
    message: new RegExp(`${members.path('a')} needs .*libc.so`),
  });
  unchanged();
  members.deploy('a', 'renamed');
  await group.swap(); // the file has the name
  t.same(members.values, [6, 61, 6611]);
  members.deploy('a', 1);
  members.handle('a').swapSync();
  unchanged();

  const twin = join(members.directory, 'twin.so');
  copyFileSync(members.path('a'), twin);
  t.throws(() => group.open(twin), { code: 'ERR_SOSWAP_NOT_BOUND', message: /libb\.so/ });
  t.throws(() => members.handle('a').close(), {
    code: 'ERR_SOSWAP_NEEDED',
    message: /libb\.so.*libc\.so/,
  });
  members.deploy('a', 2);
  await t.rejects(
    group.swap((handle) => (handle === members.handle('a') ? {} : { order: 'open-first' })),
    { code: 'ERR_SOSWAP_NOT_BOUND', message: /open-first.*close-first/ },
  );
  unchanged();
  rmSync(members.path('c'));
  await t.rejects(group.swap(), { code: 'ERR_SOSWAP_NOT_FOUND', path: members.path('c') });
  unchanged();
  t.same(
    members.images.toSorted().map((image) => `${image}`.slice(0, 1)),
    ['a', 'b', 'c'],
  );
});

t.test('a name that a new file no longer has is missed', async (t) => {
  const directory = t.testdir();
  const group = new SoGroup();
  t.teardown(() => group.close());
  const core = join(directory, 'core-of-today.so');
  copyFileSync(join(built, 'a-1.so'), core);
  const a = group.open(core, { a_value: { return: 'int32' } });
  const b = group.open(join(built, 'libb.so'), { b_value: { return: 'int32' } });
  copyFileSync(join(built, 'a-renamed.so'), core);
  await t.rejects(a.swap(), { code: 'ERR_SOSWAP_NOT_BOUND', message: /'liba\.so'.*no longer/ });
  t.same([a.functions.a_value(), b.functions.b_value()], [1, 11]);
});

t.test('a member goes by its file name too', (t) => {
  const directory = t.testdir();
  const nameless = compile('groups/member.c', join(directory, 'a.so'), '-DNAME=a', '-DVERSION=1');
  const user = compile(
    'groups/member.c',
    join(directory, 'b.so'),
    '-DNAME=b',
    '-DVERSION=1',
    '-DNEEDS=a',
    nameless,
  );
  using group = new SoGroup({ binding: 'lazy' });
  group.open(nameless);
  const { functions } = group.open(user, { b_value: { return: 'int32' } });
  t.equal(functions.b_value(), 11);
  t.equal(loaded().length, 2);
  t.end();
});

t.test('one is opened after those that it needs', (t) => {
  const members = new Members(t, ['a']);
  copyFileSync(join(built, 'libd.so'), members.path('d'));
  const group = new SoGroup();
  t.teardown(() => group.close());
  t.throws(() => group.open(join(built, 'libc.so')), { code: 'ERR_SOSWAP_MISSING_DEPENDENCY' });
  t.same(group.members, [], 'nothing was opened');
  t.end();
});

t.test('a member is prepared and committed with those that are bound to it', async (t) => {
  for (const order of orders) {
    const members = new Members(t);
    members.deploy('a', 2);
    const prepared = await members.handle('a').prepare({ order });
    await t.rejects(members.handle('c').prepare(), { code: 'ERR_SOSWAP_BUSY' });
    t.same(members.values, [1, 11, 1111]);
    t.match(await prepared.commit(), { generation: 2 });
    t.same(members.values, [2, 21, 2211]);

    const stale = await members.handle('a').prepare({ order });
    await members.handle('b').swap({ order });
    t.equal(stale.stale, true);
    await t.rejects(stale.commit(), { code: 'ERR_SOSWAP_STALE_PREPARATION' });
    stale.discard();
    t.same(members.images, ['a 2', 'b 3', 'c 3']);
    members.group.close();
  }
});

t.test('a quarantine tries a member with those that it is bound to', async (t) => {
  const members = new Members(t);
  members.deploy('a', 2);
  await members.group.swap({ quarantine: true });
  t.same(members.values, [2, 21, 2211]);
  members.deploy('c', 'refused');
  await t.rejects(members.group.swap({ quarantine: true }), {
    code: 'ERR_SOSWAP_QUARANTINE',
    path: members.path('c'),
    message: /static TLS/,
  });
  t.same(members.values, [2, 21, 2211]);
  t.same(members.images, ['a 2', 'b 2', 'c 2']);
});

t.test('a watch swaps what was replaced, and tries what was refused with the next', async (t) => {
  const members = new Members(t);
  const watch = members.group.watch({ settle: 5, swap: { order: 'open-first' } });
  members.deploy('a', 2);
  await until('a is swapped', () => members.values[2] === 2211);
  members.deploy('b', 'lacking');
  await until('b is refused', () => members.events.some((event) => event.includes('UNDEFINED')));
  members.deploy('c', 2);
  await until('c is swapped without b', () => members.events.at(-1) === 'c 3');
  t.same(members.values, [2, 21, 2212]);
  members.deploy('d', 1);
  const d = members.open('d');
  members.deploy('d', 'of-c');
  await until('one that was opened later is watched', () => d.generation === 2);
  members.deploy('b', 1);
  await until('b is swapped', () => members.handle('b').status() === 'current');
  watch.close();
  using _witness = d.watch({ settle: 50 }); // a longer one
  members.deploy('a', 1);
  members.deploy('d', 1);
  await until('the witness has seen that', () => d.generation === 3);
  t.equal(members.handle('a').status(), 'replaced', 'it sleeps');
});

t.test('a group is closed in reverse order', (t) => {
  const members = new Members(t);
  const { group } = members;
  const results = group.close();
  t.same(results, Array(3).fill({ unmapped: true, retained: [] }));
  t.equal(group.closed, true);
  t.same(group.members, []);
  t.same(loaded(), []);
  t.same(group.close(), []);
  t.throws(() => group.open(members.path('a')), { code: 'ERR_SOSWAP_CLOSED' });
  t.throws(() => group.watch(), { code: 'ERR_SOSWAP_CLOSED' });
  t.end();
});

t.test('a closed group swaps nothing', async (t) => {
  const group = new SoGroup();
  group[Symbol.dispose]();
  await t.rejects(group.swap(), { code: 'ERR_SOSWAP_CLOSED' });
});

t.test('wrong arguments are refused', async (t) => {
  const type = { code: 'ERR_INVALID_ARG_TYPE' };
  const value = { code: 'ERR_INVALID_ARG_VALUE' };
  const members = new Members(t, ['a']);
  const { group } = members;
  const path = members.path('a');
  t.throws(() => new SoGroup(1 as never), type);
  t.throws(() => group.open(1 as never), type);
  t.throws(() => group.open(path, {}, { image: 'direct' }), value);
  t.throws(() => new SoGroup({ image: 'direct' } as never).open(path), value);
  t.throws(() => new SoGroup({ unload: 'often' as never }).open(path), value);
  await t.rejects(group.swap({ order: 'none' as never }), value);
  await t.rejects(group.swap(1 as never), type);
  t.throws(() => group.watch({ swap: { order: 'none' as never } }), value);
  t.throws(() => group.watch({ settle: -1 }), { code: 'ERR_OUT_OF_RANGE' });
  t.same(members.events, []);
});

// test/campaigns/groups.js does as many as one likes, with any seed.
const campaign = fileURLToPath(new URL('campaigns/groups.js', import.meta.url));

t.test('random replacements leave one consistent deployment', async (t) => {
  const args = [campaign, '--replacements', '100', '--seed', '16'];
  const ended = await runNode(args, { cwd: root });
  t.match(ended, {
    ...exitedCleanly,
    stdout: /^seed 16\n100 replacements, [1-9]\d* swaps refused, nothing wrong\n$/,
  });
});

t.test('a wrong answer ends the campaign with 1', async (t) => {
  const program = `
    import { SoGroup } from 'soswap';
    SoGroup.prototype.swap = async () => [];
    process.argv.push('--replacements', '100', '--seed', '16');
    await import(${JSON.stringify(campaign)});`;
  const ended = await runNode(['--input-type=module', '--eval', program], { cwd: root });
  t.match(ended, { code: 1, signal: null, stderr: /^seed 16: .* instead of/ });
});
