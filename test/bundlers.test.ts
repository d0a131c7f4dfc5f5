import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { rollup } from 'rollup';
import t from 'tap';
import { copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';

// Programs that a bundler has put into one file together with the package.

const builds = twoBuilds(t.testdir());

const program = `
  import { SoHandle } from 'soswap';
  const so = SoHandle.open(process.argv[2], { version: { return: 'string' } });
  so.swapSync({ quarantine: true });
  so.swap({ quarantine: true }).then(({ generation }) => {
    console.log(generation, so.functions.version());
  });
`;
const entry = join(root, 'dist/index.js');

type Bundle = (input: string, output: string) => Promise<unknown>;

const byEsbuild =
  (format: 'esm' | 'cjs'): Bundle =>
  (input, outfile) =>
    build({
      alias: { soswap: entry },
      bundle: true,
      entryPoints: [input],
      format,
      logLevel: 'silent', // it warns that there is no import.meta in CommonJS
      outfile,
      platform: 'node',
    });

const byRollup =
  (format: 'esm' | 'cjs'): Bundle =>
  async (input, file) => {
    const bundle = await rollup({
      input,
      external: /^node:/,
      plugins: [{ name: 'soswap', resolveId: (name) => (name === 'soswap' ? entry : undefined) }],
    });
    await bundle.write({ file, format, inlineDynamicImports: true });
    await bundle.close();
  };

const bundlers: [string, string, Bundle][] = [
  ['esbuild to an ES module', 'mjs', byEsbuild('esm')],
  ['esbuild to CommonJS', 'cjs', byEsbuild('cjs')],
  ['rollup to an ES module', 'mjs', byRollup('esm')],
  ['rollup to CommonJS', 'cjs', byRollup('cjs')],
];
for (const [how, extension, bundle] of bundlers) {
  t.test(`bundled by ${how}`, async (t) => {
    // Outside of this checkout, so that nothing of it is found.
    const cwd = mkdtempSync(join(tmpdir(), 'soswap-test-'));
    t.teardown(() => rmSync(cwd, { recursive: true }));
    const { so } = copyBuilds(builds, cwd);
    const bundled = join(cwd, `bundled.${extension}`);
    writeFileSync(join(cwd, 'program.mjs'), program);
    await bundle(join(cwd, 'program.mjs'), bundled);
    const run = () => runNode([bundled, so], { cwd });

    t.match(await run(), {
      code: 1,
      signal: null,
      stderr: /ERR_SOSWAP_ADDON/,
      stdout: '',
    });
    t.match((await run()).stderr, /external/, 'without the package the error says what to do');

    const installed = join(cwd, 'node_modules/soswap');
    for (const part of ['dist', 'package.json', 'build/Release/soswap.node']) {
      cpSync(join(root, part), join(installed, part), { recursive: true });
    }
    t.match(
      await run(),
      { ...exitedCleanly, stdout: '3 build 1111\n' },
      'with the package it works',
    );
  });
}

t.test('marked external, the package stays one', async (t) => {
  const cwd = mkdtempSync(join(root, '.tap/bundlers-'));
  t.teardown(() => rmSync(cwd, { recursive: true }));
  const { so } = copyBuilds(builds, cwd);
  writeFileSync(join(cwd, 'program.mjs'), program);
  const outfile = join(cwd, 'bundled.mjs');
  await build({
    bundle: true,
    entryPoints: [join(cwd, 'program.mjs')],
    external: ['soswap'],
    format: 'esm',
    outfile,
    platform: 'node',
  });
  t.match(await runNode([outfile, so], { cwd }), { ...exitedCleanly, stdout: '3 build 1111\n' });
});
