import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { SoHandle } from 'soswap';
import t from 'tap';
import { crashSignals, exitedCleanly, runNode } from '../fixtures/child.js';

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

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

t.test('the demo shows what each replacement does to a raw loop and to SoHandle', async (t) => {
  const TMPDIR = t.testdir();
  const ended = await runNode([main, 'demo'], { cwd: TMPDIR, env: { TMPDIR } });
  t.match(ended, exitedCleanly);
  t.notMatch(ended.stdout, '\x1b', 'no colours in a pipe');
  t.same(readdirSync(TMPDIR), [], 'nothing is left behind');

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

  if (!haveSqlcipher) {
    t.match(ended.stdout, /apt-get install libsqlite3-0 libsqlcipher0/);
    return;
  }
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

t.test('Ctrl-C ends the demo, and nothing is left behind', async (t) => {
  const TMPDIR = t.testdir();
  const { NODE_OPTIONS: _, ...env } = process.env;
  const demo = spawn(process.execPath, [main, 'demo'], {
    env: { ...env, TMPDIR },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  for (demo.stdout.setEncoding('utf8'); !output.includes('before'); ) {
    const [text] = await once(demo.stdout, 'data');
    output += text;
  }
  t.not(readdirSync(TMPDIR).length, 0, 'it is at work');
  demo.kill('SIGINT');
  t.same(await once(demo, 'exit'), [130, null]);
  t.same(readdirSync(TMPDIR), []);
});
