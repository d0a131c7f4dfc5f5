import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { compile } from '../fixtures/build.js';

const check = (file: string) => spawnSync('tools/check-versions', [file], { encoding: 'utf8' });

t.test('the addon asks for no newer system than the oldest that is supported', async (t) => {
  t.match(check('build/Release/soswap.node'), { status: 0, signal: null, stdout: '', stderr: '' });
});

t.test('a library that asks for a newer system fails, and the symbol is named', async (t) => {
  const directory = t.testdir({
    'provider.c': 'int newer(void) { return 1; }',
    'provider.map': 'GLIBC_2.29 { global: newer; };',
    'user.c': 'int newer(void); int user(void) { return newer(); }',
  });
  const at = (name: string) => join(directory, name);
  // fixtures/compile takes paths from fixtures/, and absolute ones.
  compile(at('provider.c'), at('libprovider.so'), `-Wl,--version-script=${at('provider.map')}`);
  const user = compile(at('user.c'), at('user.so'), at('libprovider.so'));
  t.match(check(user), {
    status: 1,
    signal: null,
    stdout: '',
    stderr: `${user} asks for GLIBC_2.29: newer\n`,
  });
});

t.test('a file that is no shared object fails', async (t) => {
  t.match(check('README.md'), { status: 1, signal: null, stdout: '', stderr: /ELF/ });
});
