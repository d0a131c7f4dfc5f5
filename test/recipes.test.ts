import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';
import { MarkdownFile } from '../fixtures/markdown.js';

// What documents.test.ts cannot run of docs/recipes/.

const commandAfter = (blocks: readonly { language: string; text: string }[], index: number) =>
  blocks.slice(index).find(({ language }) => language === 'console')?.text ?? '';

const languages = new MarkdownFile('docs/recipes/languages.md').codeBlocks();
for (const [language, file, compiler, unmaps] of [
  ['cpp', 'price.cc', 'c++', true],
  ['rust', 'price.rs', 'rustc', true],
  ['go', 'price.go', 'go', false],
] as const) {
  const version = language === 'go' ? 'version' : '--version';
  const skip = spawnSync(compiler, [version]).status !== 0 && `needs ${compiler}`;
  t.test(`${language}: ${unmaps ? 'unmapped' : 'retained'} after a swap`, { skip }, async (t) => {
    const cwd = t.testdir();
    const index = languages.findIndex((block) => block.language === language);
    const { text = '' } = languages[index] ?? {};
    for (const [name, source] of [
      ['one.so', text],
      [
        'two.so',
        text.replace('return base', 'return 2 * base').replace(/^ {4}base \*/m, '    2.0 * base *'),
      ],
    ] as const) {
      writeFileSync(join(cwd, file), source);
      execFileSync('sh', ['-c', commandAfter(languages, index)], { cwd });
      renameSync(join(cwd, 'libprice.so'), join(cwd, name));
    }
    copyFileSync(join(cwd, 'one.so'), join(cwd, 'libprice.so'));
    const program = `
      import { copyFileSync } from 'node:fs';
      import { SoHandle } from 'soswap';
      const price = SoHandle.open('./libprice.so', {
        quote: { arguments: ['float64', 'uint32'], return: 'float64' },
      });
      const before = price.functions.quote(101.5, 2);
      copyFileSync('two.so', 'libprice.so');
      const { unmapped } = await price.swap();
      process.send([before, price.functions.quote(101.5, 2), unmapped]);
    `;
    const ended = await runNode(['--input-type=module', '--eval', program], { cwd });
    t.match(ended, exitedCleanly);
    t.same(ended.messages, [[203, 406, unmaps]]);
  });
}

t.test('the command for esbuild makes a bundle that swaps', async (t) => {
  const cwd = t.testdir();
  const { so } = twoBuilds(cwd);
  writeFileSync(
    join(cwd, 'program.mjs'),
    `import { SoHandle } from 'soswap';
     const so = SoHandle.open('${so}', { version: { return: 'string' } });
     console.log((await so.swap()).generation, so.functions.version());`,
  );
  const command = commandAfter(new MarkdownFile('docs/recipes/bundlers.md').codeBlocks(), 0);
  execFileSync('sh', ['-c', command.replace('npx', 'npx --no')], { cwd, stdio: 'pipe' });
  t.match(await runNode(['bundled.mjs'], { cwd }), { ...exitedCleanly, stdout: '2 build 1111\n' });
});

const mounts =
  spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;
const cannotMount = !mounts && 'needs the right to mount';

t.test('a container: read-only root, no /tmp, no rights', { skip: cannotMount }, async (t) => {
  const app = mkdtempSync(join(tmpdir(), 'soswap-container-'));
  t.teardown(() => rmSync(app, { recursive: true }));
  const { one, two } = twoBuilds(t.testdir());
  copyFileSync(one, join(app, 'library.so'));
  const installed = join(app, 'node_modules/soswap');
  for (const part of ['dist', 'package.json', 'build/Release/soswap.node']) {
    cpSync(join(root, part), join(installed, part), { recursive: true });
  }
  writeFileSync(
    join(app, 'program.mjs'),
    `import { once } from 'node:events';
     import { existsSync, writeFileSync } from 'node:fs';
     import { SoHandle } from 'soswap';
     const so = SoHandle.open('./library.so', { version: { return: 'string' } });
     let refusals = 0;
     for (const place of ['/tmp/x', '/x', './x']) {
       try { writeFileSync(place, ''); } catch { refusals++; }
     }
     console.log(process.getuid(), refusals, so.functions.version());
     await once(process.stdin, 'data');
     const { unmapped } = await so.swap({ quarantine: true });
     console.log(unmapped, so.functions.version());
     process.exit();`,
  );
  mkdirSync(join(app, 'node'));
  execFileSync('chmod', ['-R', 'a+rX', app]);
  const script = `
    mount --bind '${dirname(process.execPath)}' '${app}/node' &&
    mount --rbind '${app}' /mnt &&
    mount -t tmpfs -o ro tmpfs /tmp &&
    mount -o remount,bind,ro / &&
    mount -o remount,bind,ro /mnt &&
    cd /mnt &&
    exec env -u NODE_OPTIONS setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set -all ./node/node program.mjs`;
  const env = { PATH: process.env.PATH ?? '' };
  const child = spawn('unshare', ['--mount', 'sh', '-c', script], { env });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
    if (!output.includes('1111\n') || output.includes('2222')) return;
    copyFileSync(two, join(app, 'library.so'));
    child.stdin.write('replaced\n');
  });
  child.stderr.on('data', (text) => {
    output += text;
  });
  const [code] = await once(child, 'close');
  t.equal(output, '65534 3 build 1111\ntrue build 2222\n');
  t.equal(code, 0);
});
