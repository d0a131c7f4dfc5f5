import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { SoHandle } from 'soswap';
import t from 'tap';
import { compile, compileAction } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { segmentEnds } from '../fixtures/elf.js';
import { soon } from '../fixtures/until.js';

const directory = t.testdir();
const small = compileAction(`${directory}/c.so`, 1111);
const definitions = { count: { return: 'int32' }, version: { return: 'string' } } as const;

function pathOf(name: string): string | undefined {
  try {
    const so = SoHandle.open(name);
    so.close();
    return so.path;
  } catch {
    return undefined;
  }
}

interface Library {
  readonly name: string;
  readonly path: string | undefined;
  /** A function that returns a string. */
  readonly symbol: string;
  /** Bytes between two lengths. */
  readonly step: number;
}

const libraries: Library[] = [
  { name: 'a small C library', path: small, symbol: 'version', step: 32 },
  {
    name: 'a C++ library',
    path: compile('retain/unique-symbol.cc', `${directory}/cc.so`, '-DLINE=1111'),
    symbol: 'version',
    step: 32,
  },
  { name: 'libz.so.1', path: pathOf('libz.so.1'), symbol: 'zlibVersion', step: 509 },
];

for (const { name, path, symbol, step } of libraries) {
  const skip = path === undefined && `there is no ${name}`;
  t.test(`${name}, cut at every ${step}th byte, is refused or works`, { skip }, async (t) => {
    const whole = readFileSync(path!);
    const end = Math.max(...segmentEnds(whole));
    const program = `
      import { readFileSync, writeFileSync } from 'node:fs';
      import { SoHandle } from 'soswap';
      const whole = readFileSync('${path}');
      writeFileSync('so.so', whole);
      const so = SoHandle.open('./so.so', { ${symbol}: { return: 'string' } });
      const { ${symbol}: text } = so.functions;
      const expected = text();
      const seen = { refused: [], accepted: [], codes: [], wrong: [] };
      const edges = [${end} - 1, ${end}, ${end} + 1, whole.length - 1, whole.length];
      const sizes = [...Array(Math.ceil(whole.length / ${step})).keys()].map((n) => n * ${step});
      for (const size of [...sizes, ...edges]) {
        writeFileSync('so.so', whole.subarray(0, size));
        const { generation } = so;
        try {
          so.swapSync();
          seen.accepted.push(size);
        } catch ({ code }) {
          seen.refused.push(size);
          if (!seen.codes.includes(code)) seen.codes.push(code);
          if (so.generation !== generation) seen.wrong.push(size);
        }
        if (text() !== expected) seen.wrong.push(size);
      }
      process.send(seen);
      so.close();
    `;
    const ended = await runProgram(program, { cwd: t.testdir() });
    t.match(ended, exitedCleanly);
    const [seen] = ended.messages as [Record<string, unknown[]>];
    t.same(seen.codes, ['ERR_SOSWAP_TRUNCATED']);
    t.same(seen.wrong, []);
    t.ok(Math.max(...(seen.refused as number[])) < end, 'what the loader maps is all there');
    t.ok(Math.min(...(seen.accepted as number[])) >= end, 'what the loader maps is not all there');
    t.ok(seen.accepted?.includes(whole.length));
  });
}

t.test('a file that grows bit by bit is refused until the loader needs no more', async (t) => {
  const path = `${t.testdir()}/so.so`;
  copyFileSync(small, path);
  const so = SoHandle.open(path, definitions);
  so.functions.count();
  const whole = readFileSync(small);
  const end = Math.max(...segmentEnds(whole));
  const chunk = 512;
  rmSync(path);
  writeFileSync(path, '');
  for (let size = 0; size < whole.length; size += chunk) {
    if (size < end) {
      t.throws(() => so.swapSync(), { code: 'ERR_SOSWAP_TRUNCATED' }, `${size} bytes`);
      await t.rejects(so.swap(), { code: 'ERR_SOSWAP_TRUNCATED' });
    }
    appendFileSync(path, whole.subarray(size, size + chunk));
  }
  t.same([so.generation, so.functions.count()], [1, 2]);
  t.equal(so.swapSync().generation, 2);
  t.same([so.functions.version(), so.functions.count()], ['build 1111', 1]);
  so.close();
});

t.test('a file that another process writes slowly is refused until it is done', async (t) => {
  const path = `${t.testdir()}/so.so`;
  copyFileSync(small, path);
  const so = SoHandle.open(path, definitions);
  so.functions.count();
  // Writes one piece for each line that it reads, and says so.
  const writer = spawn(
    'bash',
    [
      '-c',
      `exec 3>"$0"; echo; total=$(stat -c %s "$1")
       for ((at = 0; at < total; at += 1024)); do
         read -r; dd if="$1" bs=1024 skip=$((at / 1024)) count=1 status=none >&3; echo
       done`,
      path,
      small,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  await once(writer.stdout, 'data', soon());
  const closed = once(writer, 'close');
  const pieces = Math.ceil(readFileSync(small).length / 1024);
  for (let piece = 0; piece < pieces; piece++) {
    const refused = { code: /^ERR_SOSWAP_(BEING_WRITTEN|TRUNCATED)$/ };
    t.throws(() => so.swapSync(), refused, `${piece} of ${pieces} pieces`);
    await t.rejects(so.swap(), refused);
    writer.stdin.write('\n');
    await once(writer.stdout, 'data', soon());
  }
  await closed;
  t.same([so.generation, so.functions.count()], [1, 2]);
  t.equal(so.swapSync().generation, 2);
  t.same([so.functions.version(), so.functions.count()], ['build 1111', 1]);
  so.close();
});
