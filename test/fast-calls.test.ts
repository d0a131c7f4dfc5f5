import { cpSync, mkdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { features } from 'soswap';
import t from 'tap';
import { compile, twoBuilds } from '../fixtures/build.js';
import { type Ended, exitedCleanly, root, runNode, runProgram } from '../fixtures/child.js';

const directory = t.testdir();
const library = compile('calls.c', join(directory, 'calls.so'), '-O2');
const throwing = compile('throws.cc', join(directory, 'throws.so'));
const { one, two } = twoBuilds(directory);
const release = Number.parseInt(process.versions.node, 10);
/** Where V8 passes 64-bit integers as bigints. */
const hasWide = release >= 22;
/** Where a function may call back that was called from compiled code. */
const mayCallBack = release >= 24;

/** What every program has. */
const prelude = `
  import { cpSync, renameSync } from 'node:fs';
  import koffi from 'koffi';
  import { SoHandle } from 'soswap';
  import { compiled, interprets } from '${new URL('../fixtures/compiled.js', import.meta.url)}';
  const library = ${JSON.stringify(library)};
  const throwing = ${JSON.stringify(throwing)};
  const [one, two] = ${JSON.stringify([one, two])};
  const directory = ${JSON.stringify(directory)};
  const hasWide = ${hasWide};
  const leaf = true;
  const binary = { arguments: ['int32', 'int32'], return: 'int32' };
  const said = [];
  const say = (...values) => said.push(...values);
  process.on('exit', () => process.send(said));
  /** What a call returns, or the code and the message of its error. */
  const outcome = (run) => {
    try { return run(); } catch ({ name, code, message }) { return \`\${name} \${code} \${message}\`; }
  };
`;

const natives = '--allow-natives-syntax';
const run = (program: string, flags: readonly string[] = [natives], env = {}): Promise<Ended> =>
  runProgram(prelude + program, { cwd: root, env }, ...flags);

t.test('this Node.js has fast calls', async (t) => {
  t.same(features.fastCalls, { active: true, reason: null, byDefault: mayCallBack });
});

const values = `
  const add = compiled(so.functions.add, 1, 2);
  const mul = compiled(so.functions.mul, 1.5, 2);
  const noop = compiled(so.functions.noop);
  const wide = hasWide ? compiled(so.functions.echo_int64, 1n) : (value) => value;
  let results;
  const interpreted = interprets(() => {
    results = [add(40, 2), add(2 ** 31 - 1, 1), mul(-1.5, 3), mul(0, -1), noop(), wide(-5n), wide(2n ** 63n - 1n)];
  });
  say(interpreted, results);
`;
const valuesOf = (interpreted: boolean) => ({
  ...exitedCleanly,
  messages: [[interpreted, [42, -(2 ** 31), -4.5, -0, undefined, -5n, 2n ** 63n - 1n]]],
});

t.test('compiled code calls C, and gets the right values', async (t) => {
  const program = `
    const so = SoHandle.open(library, {
      noop: { leaf }, add: { ...binary, leaf }, mul: { arguments: ['f64', 'f64'], return: 'f64', leaf },
      echo_int64: { arguments: ['int64'], return: 'int64', leaf },
    });
    ${values}`;
  t.match(await run(program), valuesOf(false));
});

t.test('without `leaf` it does so where a function may call back', async (t) => {
  const program = `
    const so = SoHandle.open(library, { add: binary, noop: {} });
    const add = compiled(so.functions.add, 1, 2);
    say(interprets(() => so.functions.noop()), interprets(() => say(add(3, 4))));
    const not = SoHandle.open(library, { add: { ...binary, leaf: false } });
    say(interprets(() => say(not.functions.add(1, 2))));`;
  const { messages, ...ended } = await run(program);
  t.match(ended, exitedCleanly);
  t.same(messages, [[7, mayCallBack, false, 3, false]]);
});

t.test(
  'every type that fits a register arrives and comes back, and others are refused alike',
  async (t) => {
    const program = `
    const narrow = ['bool', 'char', 'int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'float32', 'float64'];
    const types = [...narrow, 'int64', 'uint64', 'pointer'];
    const open = (leaf) => SoHandle.open(library, Object.fromEntries(
      types.map((type) => ['echo_' + type, { arguments: [type], return: type, leaf }])));
    const fast = open(true);
    const slow = open(false);
    const values = [0, -0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, -32768, -32769, 65535, 65536,
      2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 0.5, -0.5, 0.1,
      1e300, 5e-324, NaN, Infinity, -Infinity, 0n, 1n, -1n, 2n ** 63n - 1n, 2n ** 63n, -(2n ** 63n), -(2n ** 63n) - 1n,
      2n ** 64n - 1n, 2n ** 64n, 2n ** 200n, '1', '', true, false, undefined, {}, [], Symbol('1'), new Number(1), Object(1n),
      () => 1, { valueOf() { throw new Error('was asked'); } }];
    let compared = 0;
    for (const type of types) {
      const [quick, plain] = [fast, slow].map((so) => so.functions['echo_' + type]);
      const isWide = ['int64', 'uint64', 'pointer'].includes(type);
      const call = compiled(quick, isWide ? 1n : 1);
      const direct = !isWide || hasWide;
      if (direct && interprets(() => call(isWide ? 1n : 1))) say(type + ' is interpreted');
      for (const value of [...values, ...values.toReversed()]) {
        if (type === 'pointer' && typeof value === 'string') continue; // the address of a copy
        for (const each of [quick, call]) {
          const [mine, other] = [each, plain].map((call) => outcome(() => call(value)));
          if (!Object.is(mine, other)) say(type, String(value), mine, other);
          compared++;
        }
      }
    }
    say(compared);`;
    t.match(await run(program), { ...exitedCleanly, messages: [[13 * 4 * 55 - 8]] });
  },
);

t.test('all registers are used, and more arguments go through Node-API', async (t) => {
  const program = `
    const [i, d] = hasWide ? ['int64', 'float64'] : ['int32', 'float64'];
    const weighted = (n) => ({ arguments: Array(n).fill('int64'), return: 'int64', leaf });
    const so = SoHandle.open(library, { weighted6: weighted(6), weighted7: weighted(7), weighted9: weighted(9),
      weighted_doubles9: { arguments: Array(9).fill('float64'), return: 'float64', leaf } });
    const bigints = [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n];
    for (const n of [6, 7, 9]) {
      const call = compiled(so.functions['weighted' + n], ...bigints.slice(0, n));
      say(interprets(() => say(call(...bigints.slice(0, n)))));
      say(call(...bigints.slice(0, n).map((value) => -value)));
    }
    say(compiled(so.functions.weighted_doubles9, ...Array(9).fill(1.5))(1, 2, 3, 4, 5, 6, 7, 8, 9));`;
  const weighted = (count: number) => {
    const sum = Array.from({ length: count }, (_, n) => BigInt((n + 1) ** 2)).reduce(
      (a, b) => a + b,
    );
    return [sum, false, -sum];
  };
  const messages = [[...weighted(6), ...weighted(7), ...weighted(9), 285]];
  t.match(await run(program), { ...exitedCleanly, messages });
});

t.test('a compiled call has no `this`, and takes the arguments that there are', async (t) => {
  const program = `
    const [fast, slow] = [true, false].map((leaf) => SoHandle.open(library, { add: { ...binary, leaf } }).functions.add);
    const same = (what, of) => {
      const [mine, other] = [fast, slow].map((add) => outcome(() => of(add)));
      if (mine !== other) say(what, mine, other);
    };
    for (const make of [(add) => add, (add) => compiled(add, 1, 2)]) {
      same('this', (add) => make(add).call({ low: 1 }, 40, 2));
      same('apply', (add) => make(add).apply(null, [40, 2]));
      for (const count of [0, 1, 3, 100]) {
        same('count ' + count, (add) => add(...Array(count).fill(1)));
        same('compiled ' + count, (add) => compiled(() => outcome(() => add(...Array(count).fill(1))))());
      }
    }
    same('name', (add) => add.name);
    same('length', (add) => add.length);
    same('properties', (add) => JSON.stringify(Object.getOwnPropertyDescriptors(add), ['name', 'length', 'value', 'writable', 'enumerable', 'configurable']));
    same('new', (add) => typeof new add(1, 2));
    same('bound', (add) => add.bind(null, 40)(2));
    say(fast.name, fast.length);`;
  t.match(await run(program), { ...exitedCleanly, messages: [['add', 2]] });
});

t.test('compiled code follows swaps, and throws when there is nothing to call', async (t) => {
  const program = `
    const path = directory + '/swapped.so';
    const put = (build) => { cpSync(build, path + '.new'); renameSync(path + '.new', path); };
    put(one);
    const so = SoHandle.open(path, { action: { return: 'int32', leaf } });
    const line = compiled(so.functions.action);
    say(interprets(() => say(line())));
    for (const build of [two, one, two]) {
      put(build);
      so.swapSync();
      say(interprets(() => say(line())));
    }
    so.close();
    for (let n = 0; n < 2; n++) say(outcome(line).replace(path, 'PATH'));
    const optional = SoHandle.open(library, { nowhere: { return: 'int32', optional: true, leaf } });
    say(optional.functions.nowhere);`;
  const closed = "SoError ERR_SOSWAP_CLOSED cannot call action(): the handle of 'PATH' is closed";
  const messages = [[1111, false, 2222, false, 1111, false, 2222, false, closed, closed, null]];
  t.match(await run(program), { ...exitedCleanly, messages });
});

t.test('a symbol that a swap takes away is missed by compiled code, too', async (t) => {
  const program = `
    const path = directory + '/shrinking.so';
    const put = (build) => { cpSync(build, path + '.new'); renameSync(path + '.new', path); };
    put(library);
    const so = SoHandle.open(path, { add: { ...binary, optional: true, leaf } });
    const add = compiled(so.functions.add, 1, 2);
    say(add(1, 2));
    put(one);
    so.swapSync();
    say(outcome(() => add(1, 2)).replace(path, 'PATH'));
    put(library);
    so.swapSync();
    say(interprets(() => say(add(1, 2))));`;
  const missing =
    "SoError ERR_SOSWAP_MISSING_SYMBOL cannot call add(): 'PATH' no longer has this symbol";
  t.match(await run(program), { ...exitedCleanly, messages: [[3, missing, 3, false]] });
});

t.test('a C++ exception is the same error from compiled code', async (t) => {
  const program = `
    const [fast, slow] = [true, false].map((leaf) => SoHandle.open(throwing, {
      throw_if: { arguments: ['int32'], return: 'int32', leaf }, throw_int: { leaf },
    }));
    const throw_if = compiled(fast.functions.throw_if, 0);
    const throw_int = compiled(() => outcome(fast.functions.throw_int));
    for (let n = 1; n < 1000; n++) {
      const [mine, other] = [throw_if, slow.functions.throw_if].map((call) => outcome(() => call(n)));
      if (mine !== other) say(mine, other);
      if (throw_if(0) !== 7) say('not 7');
    }
    say(outcome(() => throw_if(5)), throw_int(), outcome(slow.functions.throw_int));
    const anew = compiled(fast.functions.throw_if, 0);
    say(interprets(() => anew(0)));
    fast.swapSync(); // nothing is in flight
    try { throw_if(1); } catch (error) { say(error.path === throwing, error.symbol); }`;
  const code = 'SoError ERR_SOSWAP_NATIVE_EXCEPTION';
  const [what, nothing] = ['value is 5', undefined].map(
    (text) =>
      `${code} throw_${text ? 'if' : 'int'}() threw a C++ exception${text ? `: ${text}` : ''}`,
  );
  const messages = [[what, nothing, nothing, false, true, 'throw_if']];
  t.match(await run(program), { ...exitedCleanly, messages });
});

const callsBack = `
  const unary = koffi.proto('int32_t unary(int32_t)');
  const callback = koffi.register((value) => act(value), koffi.pointer(unary));
  const address = koffi.address(callback);
  const so = SoHandle.open(library, {
    call_back: { arguments: ['function', 'int32'], return: 'int32' }, add: binary,
  });
  const call_back = compiled(so.functions.call_back, address, 1);
`;

t.test('a function that compiled code called may call back, swap and close', async (t) => {
  const program = `
    let act = (value) => value;
    ${callsBack}
    const errors = [];
    act = (value) => {
      for (const attempt of [() => so.swapSync(), () => so.close()]) {
        try { attempt(); } catch ({ code }) { errors.push(code); }
      }
      globalThis.gc();
      return value < 50 ? call_back(address, so.functions.add(value, 1)) + 1 : value;
    };
    const interpreted = interprets(() => say(call_back(address, 40)));
    say(interpreted, errors.length, new Set(errors).size, errors[0]);
    so.swapSync();
    act = (value) => { try { so.functions.add('x', 1); } catch (error) { return 77; } return 0; };
    say(call_back(address, 1));
    let waiting;
    act = (value) => { waiting = so.swap(); return value; };
    say(call_back(address, 3));
    const { generation } = await waiting;
    say(generation, call_back.name);`;
  const { messages, ...ended } = await run(program, [natives, '--expose-gc']);
  t.match(ended, exitedCleanly);
  const [value, interpreted, ...rest] = messages[0] as unknown[];
  t.equal(value, 60);
  t.equal(interpreted, mayCallBack, 'the inner calls are not compiled');
  t.same(rest, [22, 1, 'ERR_SOSWAP_BUSY', 77, 3, 3, 'caller']);
});

t.test('each worker calls its own, compiled', async (t) => {
  const program = `
    import { Worker } from 'node:worker_threads';
    const text = \`
      const { parentPort } = require('node:worker_threads');
      import('soswap').then(async ({ SoHandle }) => {
        const { compiled, interprets } = await import('${new URL('../fixtures/compiled.js', import.meta.url)}');
        const so = SoHandle.open('\${library}', { add: { arguments: ['int32', 'int32'], return: 'int32', leaf: true } });
        const add = compiled(so.functions.add, 1, 2);
        let sum = 0;
        const interpreted = interprets(() => { for (let n = 0; n < 1e5; n++) sum = add(sum, 1); });
        so.close();
        let code;
        try { add(1, 2); } catch (error) { code = error.code; }
        parentPort.postMessage([sum, interpreted, code]);
      });\`;
    const results = [];
    for (let round = 0; round < 3; round++) {
      await Promise.all(Array.from({ length: 3 }, () => new Promise((done, fail) => {
        const worker = new Worker(text, { eval: true, execArgv: [] });
        worker.on('message', (message) => results.push(message));
        worker.on('error', fail).on('exit', done);
      })));
    }
    say(...new Set(results.map(String)), results.length);`;
  const messages = [['100000,false,ERR_SOSWAP_CLOSED', 9]];
  t.match(await run(program), { ...exitedCleanly, messages });
});

t.test('code of another context calls it', async (t) => {
  const program = `
    import vm from 'node:vm';
    const so = SoHandle.open(library, { add: { ...binary, leaf } });
    const context = vm.createContext({ add: so.functions.add });
    const sum = \`let sum = 0; for (let n = 0; n < 300000; n++) sum = add(sum, 1); sum\`;
    say(vm.runInContext(sum, context), vm.runInNewContext('(' + ((add) => {
      let sum = 0;
      for (let n = 0; n < 300000; n++) sum = add(sum, 1);
      return sum;
    }) + ')(add)', { add: so.functions.add }));
    say(outcome(() => vm.runInContext('add("1", 1)', context)));`;
  const { messages, ...ended } = await run(program);
  t.match(ended, exitedCleanly);
  t.match(messages, [
    [300000, 300000, /^TypeError ERR_INVALID_ARG_VALUE cannot call add\(\): argument 1/],
  ]);
});

t.test('what a program does to built-in objects changes no call', async (t) => {
  const program = `
    const trap = () => { throw new Error('was used'); };
    const setters = (keys) => keys.forEach((key) => Object.defineProperty(Object.prototype, key, { __proto__: null, set: trap, configurable: true }));
    setters(['name', 'configurable', 'value']);
    const so = SoHandle.open(library, { add: { ...binary, leaf }, echo_int64: { arguments: ['int64'], return: 'int64', leaf } });
    const { add, echo_int64 } = so.functions;
    setters(['0', '1', 'length']);
    const { prototype } = Function;
    const used = [Reflect, prototype, Math, BigInt, Number, Array.prototype];
    const original = used.map((object) => Object.getOwnPropertyDescriptors(object));
    const globalBigInt = BigInt;
    Array.prototype[Symbol.iterator] = trap;
    prototype.call = prototype.apply = trap;
    Reflect.apply = Math.fround = trap;
    BigInt.asIntN = BigInt.asUintN = Number.isSafeInteger = trap;
    globalThis.BigInt = trap;
    let sum = 0;
    for (let n = 0; n < 300000; n++) sum = add(sum, 1);
    const big = echo_int64(5n);
    const other = echo_int64(5);
    let code;
    try { add(1); } catch (error) { code = error.code; }
    // Node.js and what the test has loaded need them to end.
    for (let n = 0, keys = '0 1 length name configurable value'.split(' '); n < keys.length; n++) delete Object.prototype[keys[n]];
    globalThis.BigInt = globalBigInt;
    for (let n = 0; n < used.length; n++) Object.defineProperties(used[n], original[n]);
    said.push(sum, big, other, code);`;
  const messages = [[300000, 5n, 5n, 'ERR_INVALID_ARG_VALUE']];
  t.match(await run(program), { ...exitedCleanly, messages });
});

t.test(
  'it holds under stress: garbage collection, deoptimisation, and with a profiler',
  async (t) => {
    const stress = [
      ['--gc-interval=97'],
      ['--stress-compaction', '--gc-interval=499'],
      ['--no-lazy-feedback-allocation'],
      ['--no-concurrent-recompilation'],
      ['--no-opt'],
      ['--max-lazy'],
      ['--cpu-prof', `--cpu-prof-dir=${directory}`],
    ];
    const program = `
    const so = SoHandle.open(library, { add: { ...binary, leaf }, mul: { arguments: ['f64', 'f64'], return: 'f64', leaf },
      echo_int64: { arguments: ['int64'], return: 'int64', leaf } });
    const { add, mul, echo_int64 } = so.functions;
    const odd = [1, -0, 2.5, '3', null, 4n, {}, 2 ** 40];
    let wrong = 0;
    let right = 0;
    const step = (n) => {
      if (add(n, 1) !== n + 1 || mul(n, 0.5) !== n / 2 || echo_int64(BigInt(n)) !== BigInt(n)) say(n);
      if (n % 50 === 0) try { add(odd[(n / 50) % odd.length], 1); right++; } catch { wrong++; }
    };
    for (let n = 0; n < 20000; n++) step(n);
    say(right, wrong);`;
    for (const flags of stress) {
      t.match(
        await run(program, flags),
        { code: 0, signal: null, messages: [[100, 300]] },
        flags.join(' '),
      );
    }
  },
);

t.test('the permission model allows it where it allows addons', async (t) => {
  const flag = release >= 24 ? '--permission' : '--experimental-permission';
  const program = `const so = SoHandle.open(library, { add: { ...binary, leaf } });
    let sum = 0;
    for (let n = 0; n < 300000; n++) sum = so.functions.add(sum, 1);
    say(sum);`;
  const flags = [flag, '--allow-addons', '--allow-fs-read=*', '--no-warnings'];
  t.match(await run(program, flags), { ...exitedCleanly, messages: [[300000]] });
});

/** Says why there are no fast calls, and that calls work. */
const without = `
  import { features } from 'soswap';
  const so = SoHandle.open(library, { add: { ...binary, leaf } });
  let sum = 0;
  for (let n = 0; n < 100000; n++) sum = so.functions.add(sum, 1);
  say(sum, features.fastCalls.active, features.fastCalls.reason);`;

t.test('without fast calls every call works, and the reason is told', async (t) => {
  const cases: [reason: RegExp, flags: string[], env?: object][] = [
    [/^SOSWAP_FAST is 0$/, [], { SOSWAP_FAST: '0' }],
    [/--jitless/, ['--jitless']],
    [/--disallow-code-generation-from-strings/, ['--disallow-code-generation-from-strings']],
  ];
  for (const [reason, flags, env] of cases) {
    const { messages, code, signal } = await run(without, flags, env); // --jitless may warn
    t.same({ code, signal }, { code: 0, signal: null }, flags.join());
    t.match(messages, [[100000, false, reason]]);
  }
});

t.test('an addon for fast calls that is absent or damaged is left alone', async (t) => {
  const name = `soswap-fast-${process.versions.modules}.node`;
  const copy = join(directory, 'copy');
  mkdirSync(join(copy, 'build/Release'), { recursive: true });
  for (const part of ['package.json', 'dist', 'build/Release/soswap.node']) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  const addon = join(copy, 'build/Release', name);
  const whole = join(root, 'build/Release', name);
  const { length } = readFileSync(whole);
  const program = without.replaceAll("'soswap'", JSON.stringify(join(copy, 'dist/index.js')));
  const cut = (size: number) => {
    cpSync(whole, addon);
    truncateSync(addon, size);
  };
  const damages: [reason: RegExp, damage: () => void][] = [
    [/there is no soswap-fast-\d+\.node for this Node.js; npx soswap build/, () => {}],
    ...[0, 63, 64, 4096, length >> 1, length - 1].map(
      (size) => [/ends early$/, () => cut(size)] as [RegExp, () => void],
    ),
    [/is not an ELF file$/, () => cpSync(join(root, 'package.json'), addon)],
    [/does not load/, () => cpSync(library, addon)],
  ];
  for (const [reason, damage] of damages) {
    damage();
    const own = prelude.replaceAll("'soswap'", JSON.stringify(join(copy, 'dist/index.js')));
    const withoutImport = program.replace(/import \{ features \}.*;/, '');
    const ended = await runProgram(
      own.replace('{ SoHandle }', '{ SoHandle, features }') + withoutImport,
      { cwd: root },
    );
    const { messages, ...rest } = ended;
    t.match(rest, exitedCleanly, String(reason));
    t.match(messages, [[100000, false, reason]]);
  }
});

t.test('swaps under a compiled loop lose no call, and none runs the code before', async (t) => {
  const campaign = join(root, 'test/campaigns/hot-loop.js');
  const ended = await runNode([campaign, '--json', '--seconds', '1'], { cwd: root });
  t.match(ended, exitedCleanly);
  const figures = JSON.parse(ended.stdout);
  t.equal(figures.wrongValues, 0);
  t.ok(figures.swaps > 10 && figures.calls > 10_000, ended.stdout);
});

t.test('a debugger, a profiler and a heap snapshot leave compiled calls alone', async (t) => {
  const program = `
    import { Session } from 'node:inspector/promises';
    import { writeHeapSnapshot } from 'node:v8';
    const so = SoHandle.open(library, { add: { ...binary, leaf }, mul: { arguments: ['f64', 'f64'], return: 'f64', leaf } });
    const { add, mul } = so.functions;
    const sum = () => {
      let sum = 0;
      for (let n = 0; n < 50000; n++) sum = add(sum, mul(n % 2, 2));
      return sum;
    };
    say(sum());
    const session = new Session();
    session.connect();
    await session.post('Debugger.enable');
    await session.post('Debugger.setPauseOnExceptions', { state: 'all' });
    let pauses = 0;
    session.on('Debugger.paused', () => { pauses++; session.post('Debugger.resume'); });
    await session.post('Profiler.enable');
    await session.post('Profiler.start');
    say(sum());
    say(outcome(() => add('1', 2)).slice(0, 32), pauses > 0);
    const { profile } = await session.post('Profiler.stop');
    say(profile.nodes.length > 1);
    writeHeapSnapshot(directory + '/calls.heapsnapshot');
    say(sum());
    session.disconnect();
    say(sum());`;
  const wrong = 'TypeError ERR_INVALID_ARG_VALUE ';
  const messages = [[50_000, 50_000, wrong, true, true, 50_000, 50_000]];
  t.match(await run(program, [natives, '--no-warnings']), { ...exitedCleanly, messages });
});
