import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'soswap';
import t from 'tap';
import { codesOf, proveHandle, provePlain } from '../fixtures/unload-proof.js';

for (const name of [
  'libcrypto.so.3',
  'libstdc++.so.6',
  'libsqlite3.so.0',
  'libz.so.1',
  'libgomp.so.1',
]) {
  const found = find(name);
  t.test(
    `the verdict of the system's ${name}`,
    { skip: found ? false : `there is no ${name}` },
    async (t) => {
      if (found === undefined) return;
      // A copy: node itself may have the library.
      const path = join(t.testdir(), name);
      copyFileSync(found, path);
      const info = inspect(path);
      t.equal(info.soname, name);
      t.ok(info.exports.length > 50 && info.imports.length > 10);
      t.ok(
        info.dependencies.every(({ path, defect }) => path !== null && defect === undefined),
        'its dependencies are found',
      );

      const plain = await provePlain(path);
      const handle = await proveHandle(path, {});
      const always = await proveHandle(path, { unload: 'always' });
      t.comment(name, info.plain.outcome, info.unload.outcome, plain, handle, always);
      t.equal(
        info.unload.outcome !== 'clean',
        handle.stays,
        `${info.unload.outcome} with SoHandle`,
      );
      for (const code of handle.retained) t.ok(codesOf(info, 'unload').includes(code), code);
      if (info.plain.outcome === 'clean') t.equal(plain.stays, false, 'dlclose(3) unmaps it');
      if (info.plain.outcome === 'stays-mapped') t.equal(plain.stays, true, 'dlclose(3) does not');
      // Nothing of it has run, so that even what may crash can go, once it is told to.
      if (info.unload.outcome === 'may-crash') t.equal(always.stays, false, "unload: 'always'");
    },
  );
}

/** The path of a library of the system. */
function find(name: string): string | undefined {
  try {
    return inspect(name).path;
  } catch {
    return undefined;
  }
}
