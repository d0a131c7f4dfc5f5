import { chmodSync, rmSync } from 'node:fs';
import { inspect, SoHandle } from 'soswap';
import t from 'tap';
import { compileAction } from '../fixtures/build.js';
import { beginning } from '../fixtures/quarantine.js';

const directory = t.testdir({ 'a.txt': '' });
const path = compileAction(`${directory}/so.so`, 1111);
const so = SoHandle.open(path);
const begins = beginning(directory);
const crashing = begins('*nowhere = 0');

t.test('the cause of an error is that of the system, where there is one', async (t) => {
  const noFile = { name: 'Error', message: /no such file/, code: 'ENOENT', errno: -2 };
  t.throws(() => SoHandle.open(`${directory}/none.so`), { cause: noFile });
  t.throws(() => inspect(`${directory}/a.txt/none.so`), { cause: { code: 'ENOTDIR', errno: -20 } });
  rmSync(path);
  await t.rejects(so.swap(), { code: 'ERR_SOSWAP_NOT_FOUND', cause: noFile });
  t.throws(() => so.swapSync(), { cause: noFile });
});

t.test(
  'a file that may not be read',
  { skip: process.getuid?.() === 0 && 'root may' },
  async (t) => {
    const secret = compileAction(`${directory}/secret.so`, 1111);
    chmodSync(secret, 0);
    const denied = { code: 'ERR_SOSWAP_UNREADABLE', cause: { code: 'EACCES', errno: -13 } };
    t.throws(() => SoHandle.open(secret), denied);
  },
);

t.test('the cause of a quarantine that died has its signal', async (t) => {
  const options = { quarantine: true };
  const cause = { message: /SIGSEGV/, signal: 'SIGSEGV' };
  t.throws(() => SoHandle.open(crashing, {}, options), { cause });
  await t.rejects(SoHandle.openAsync(begins('abort()'), {}, options), {
    code: 'ERR_SOSWAP_QUARANTINE',
    cause: { signal: 'SIGABRT' },
  });
});

t.test('where there is none, there is no cause', async (t) => {
  try {
    SoHandle.open(`${directory}/a.txt`);
  } catch (error) {
    t.match(error, { code: 'ERR_SOSWAP_TRUNCATED' });
    t.notOk('cause' in (error as Error));
  }
});
