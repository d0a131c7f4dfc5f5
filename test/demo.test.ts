import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SoHandle } from 'soswap';
import t from 'tap';
import { crashSignals, exitedCleanly, main, Running, runSoswap } from '../fixtures/child.js';

const directory = t.testdir({ tmp: {} });
const TMPDIR = join(directory, 'tmp');
const ended = await runSoswap(['demo'], { cwd: directory, env: { TMPDIR } });

const haveSqlcipher = ['libsqlite3.so.0', 'libsqlcipher.so.0'].every((name) => {
  try {
    SoHandle.open(name).close();
    return true;
  } catch {
    return false;
  }
});

/** The cells of the table that begins with a line like `head`, by the first of them. */
function tableOf(output: string, head: RegExp): Map<string, string[]> {
  const lines = output.split('\n');
  const start = lines.findIndex((line) => head.test(line)) + 2;
  const rows = lines.slice(start, lines.indexOf('', start));
  return new Map(
    rows.map((row) => row.split(/ {2,}/)).map(([name = '', ...cells]) => [name, cells]),
  );
}

t.test('the demo leaves nothing behind', async (t) => {
  t.match(ended, exitedCleanly);
  t.notMatch(ended.stdout, '\x1b', 'no colours in a pipe');
  t.same(readdirSync(TMPDIR), []);
});

t.test('the demo shows what each replacement does to a raw loop and to SoHandle', async (t) => {
  const table = tableOf(ended.stdout, /^way of replacing/);
  const ways: [name: string, raw: 'crashes' | 'is stale', soswap: string, inode: 'same' | 'new'][] =
    [
      ['cp in place', 'crashes', '1111 → 2222', 'same'],
      ['cp of the same bytes', 'crashes', '1111 → 1111, same build', 'same'],
      ['rm and cp', 'is stale', '1111 → 2222', 'new'],
      ['mv', 'is stale', '1111 → 2222', 'new'],
      ['symlink to a file', 'is stale', '1111 → 2222', 'new'],
      ['symlink to a directory', 'is stale', '1111 → 2222', 'new'],
      ['install', 'is stale', '1111 → 2222', 'new'],
      ['strip in place', 'crashes', '1111 → 1111, same build', 'same'],
      ['truncate to 0 bytes', 'crashes', '1111 → 2222', 'same'],
    ];
  t.same(
    [...table.keys()],
    ways.map(([name]) => name),
  );
  for (const [name, raw, soswap, inode] of ways) {
    const [rawCell = '', ...cells] = table.get(name) ?? [];
    const [, signal] = /^1111 → (SIG\w+)$/.exec(rawCell) ?? [];
    if (raw === 'crashes') t.ok(crashSignals.includes(signal), `${name}, raw: ${rawCell}`);
    else t.equal(rawCell, '1111 → 1111, stale', `${name}, raw`);

    const [soswapCell, inodes = '', time] = cells;
    t.equal(soswapCell, soswap, `${name}, soswap`);
    const [, before, after] = /^(\d+) → (\d+)$/.exec(inodes) ?? [];
    t.equal(before === after ? 'same' : 'new', inode, `${name}: inodes ${inodes}`);
    t.match(time, /^[\d,]+ µs$/, `${name}: time of the swap`);
  }
});

t.test('the demo swaps SQLite', { skip: !haveSqlcipher && 'needs SQLCipher' }, async (t) => {
  const seen = tableOf(ended.stdout, /^called or queried/);
  const [sqlite, copied, sqlcipher] = seen.get('sqlite3_libversion()') ?? [];
  t.match(sqlite, /^3\.\d+\.\d+$/);
  t.equal(copied, sqlite, 'the copy alone changes nothing');
  t.match(sqlcipher, /^3\.\d+\.\d+$/);
  t.match(seen.get('PRAGMA cipher_version'), ['(no such)', '(no such)', /^\d+\.\d+/]);
  t.same(
    seen.get('SELECT version FROM looks'),
    [sqlite, `${sqlite} ${sqlite}`, `${sqlite} ${sqlite} ${sqlcipher}`],
    'all of them write to one database',
  );
});

t.test(
  'the demo names what is missing for SQLite',
  {
    skip: haveSqlcipher && 'SQLCipher is here',
  },
  async (t) => {
    t.match(ended.stdout, /libsqlite3-0 libsqlcipher0/);
  },
);

t.test('Ctrl-C ends the demo, and nothing is left behind', async (t) => {
  const TMPDIR = t.testdir();
  const demo = new Running([main, 'demo'], { cwd: TMPDIR, env: { TMPDIR } });
  await demo.says(/before/);
  t.not(readdirSync(TMPDIR).length, 0, 'it is at work');
  t.match(await demo.end('SIGINT'), { code: 130, signal: null, stderr: '' });
  t.same(readdirSync(TMPDIR), []);
});
