import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { styleText } from 'node:util';
import { SoHandle } from '../../handle/so-handle.js';
import { SoError } from '../../internal/errors.js';
import { microseconds, table } from '../table.js';

const definitions = {
  sqlite3_libversion: { return: 'string' },
  sqlite3_sourceid: { return: 'string' },
  sqlite3_errmsg: { arguments: ['pointer'], return: 'string' },
  // int sqlite3_open(const char *filename, sqlite3 **db): JavaScript passes the memory that an output
  // parameter is written to.
  sqlite3_open: { arguments: ['string', 'buffer'], return: 'int32' },
  sqlite3_exec: {
    arguments: ['pointer', 'string', 'function', 'pointer', 'pointer'],
    return: 'int32',
  },
  sqlite3_prepare_v2: {
    arguments: ['pointer', 'string', 'int32', 'buffer', 'pointer'],
    return: 'int32',
  },
  sqlite3_step: { arguments: ['pointer'], return: 'int32' },
  sqlite3_column_text: { arguments: ['pointer', 'int32'], return: 'string' },
  sqlite3_finalize: { arguments: ['pointer'], return: 'int32' },
  sqlite3_close: { arguments: ['pointer'], return: 'int32' },
} as const;

type Sqlite = SoHandle<typeof definitions>['functions'];

const SQLITE_OK = 0;
const SQLITE_ROW = 100;

/** Replaces SQLite of Debian with SQLCipher, which has the same functions. */
export async function showSqlite(directory: string): Promise<void> {
  const sqlite = installed('libsqlite3.so.0');
  const sqlcipher = installed('libsqlcipher.so.0', 'libsqlcipher.so.1', 'libsqlcipher.so.2');
  if (sqlite === undefined || sqlcipher === undefined) {
    const absent = [sqlite ?? 'libsqlite3', sqlcipher ?? 'libsqlcipher'];
    const names = absent.filter((name) => !name.startsWith('/')).join(' and ');
    process.stdout.write(`Skipped without ${names}. On Debian 12, this command installs both libraries:\n
  apt-get install libsqlite3-0 libsqlcipher0\n`);
    return;
  }

  const library = join(directory, 'libsqlite3.so.0');
  const database = join(directory, 'runs.db');
  copyFileSync(sqlite, library);
  const so = SoHandle.open(library, definitions);
  const before = query(so.functions, database);

  copyFileSync(sqlcipher, library);
  process.stdout.write(styleText('dim', `  $ cp ${sqlcipher} ${library}\n\n`));
  const copied = query(so.functions, database);

  const { totalMicroseconds, unmapped, retained } = await so.swap();
  const swapped = query(so.functions, database);
  so.close();

  const rows = Object.keys(before).map((name) => [
    name,
    ...[before, copied, swapped].map((seen) => seen[name] ?? ''),
  ]);
  const reasons = retained.map(({ detail }) => detail).join('; ');
  process.stdout.write(`${table(['called or queried', 'before', 'after cp', 'after swap()'], rows)}
swap() took ${microseconds(totalMicroseconds)}
the old library ${unmapped ? 'was unmapped' : `is retained: ${reasons}`}
`);
}

/** Returns the path of the first of these libraries that this machine has. */
function installed(...names: string[]): string | undefined {
  for (const name of names) {
    try {
      const so = SoHandle.open(name);
      so.close();
      return so.path;
    } catch (error) {
      if (!(error instanceof SoError && error.code === 'ERR_SOSWAP_NOT_FOUND')) throw error;
    }
  }
  return undefined;
}

/** Adds a row to the database, and returns the version of the library and all rows. */
function query(sqlite: Sqlite, database: string): Record<string, string> {
  const db = open(sqlite, database);
  try {
    execute(sqlite, db, 'CREATE TABLE IF NOT EXISTS looks (version)');
    execute(sqlite, db, 'INSERT INTO looks VALUES (sqlite_version())');
    return {
      'sqlite3_libversion()': sqlite.sqlite3_libversion() ?? '',
      'sqlite3_sourceid()': sqlite.sqlite3_sourceid()?.slice(0, '2022-12-28 14:03:47'.length) ?? '',
      'PRAGMA cipher_version': select(sqlite, db, 'PRAGMA cipher_version').join() || '(no such)',
      'SELECT version FROM looks': select(sqlite, db, 'SELECT version FROM looks').join(' '),
    };
  } finally {
    check(sqlite, db, sqlite.sqlite3_close(db));
  }
}

function open(sqlite: Sqlite, path: string): bigint {
  const db = new BigUint64Array(1);
  const status = sqlite.sqlite3_open(path, db);
  check(sqlite, db[0] ?? 0n, status);
  return db[0] ?? 0n;
}

function execute(sqlite: Sqlite, db: bigint, sql: string): void {
  check(sqlite, db, sqlite.sqlite3_exec(db, sql, null, null, null));
}

/** Returns the first column of all rows. */
function select(sqlite: Sqlite, db: bigint, sql: string): string[] {
  const statement = new BigUint64Array(1);
  check(sqlite, db, sqlite.sqlite3_prepare_v2(db, sql, -1, statement, null));
  const [pointer = 0n] = statement;
  const values: string[] = [];
  while (sqlite.sqlite3_step(pointer) === SQLITE_ROW) {
    values.push(sqlite.sqlite3_column_text(pointer, 0) ?? 'NULL');
  }
  check(sqlite, db, sqlite.sqlite3_finalize(pointer));
  return values;
}

function check(sqlite: Sqlite, db: bigint, status: number): void {
  if (status !== SQLITE_OK) throw new Error(`SQLite: ${sqlite.sqlite3_errmsg(db)}`);
}
