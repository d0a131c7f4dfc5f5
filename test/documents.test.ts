import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import * as soswap from 'soswap';
import * as soswapControl from 'soswap/control';
import * as dl from 'soswap/dl';
import * as soswapInclude from 'soswap/include';
import * as soswapKoffi from 'soswap/koffi';
import t from 'tap';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';
import { compileC, compilePrograms, missingLines, promisedOutput } from '../fixtures/document.js';
import { MarkdownFile } from '../fixtures/markdown.js';

const { scripts } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/** Tracked documents that no tool makes, and their blocks. */
const documents = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], {
  cwd: new URL('..', import.meta.url),
  encoding: 'utf8',
})
  .trim()
  .split('\n')
  .map((name) => ({ name, blocks: new MarkdownFile(name).codeBlocks() }));
const written = documents.filter(({ name }) => !name.startsWith('docs/api/'));
const reference = documents.filter(({ name }) => name.startsWith('docs/api/'));

/** What a reader does who follows the text: the other build of the library is in build/. */
const somebodyReplaces = /^\/\/ … somebody replaces (\S+) .*$/gm;

t.test('every block of code is in a language that is tested here', async (t) => {
  for (const { name, blocks } of documents) {
    for (const { language, line } of blocks) {
      // recipes.test.ts, fleet.test.ts and test/campaigns/test-runners.js are about the languages after `console`; nobody
      // runs what configures systemd, Ansible and Kubernetes.
      const languages = /^(ts|c|js (bun|deno|node-26)|console|cpp|rust|go|js|sh|ini|yaml)$/;
      t.match(language, languages, `${name}:${line}`);
    }
  }
});

for (const { name, blocks } of written) {
  const inLanguage = (wanted: string) =>
    blocks.filter(({ language }) => language === wanted).map(({ text }) => text);
  const commands = inLanguage('console')
    .flatMap((text) => text.trim().split('\n'))
    .map((line) => line.replace(/ +# .*$/, ''));

  if (commands.length > 0) {
    t.test(`the commands in ${name} exist`, async (t) => {
      for (const command of commands) {
        // cc compiles the block before, see below; observing.test.ts is about the others.
        if (/^(cc|curl|gdb|perf|c\+\+|rustc|go|npx|NODE_OPTIONS=.* npx) /.test(command)) continue;
        for (const part of command.split(' && ')) {
          const [, script] = /^npm (?:run )?(\w\S*)( soswap)?$/.exec(part) ?? [];
          const installs = script === 'install' || /^npm install (koffi|--save-dev )/.test(part);
          t.ok(installs || script! in scripts, part);
        }
      }
    });
  }

  const program = inLanguage('ts').join('\n');
  if (program === '') continue;
  t.test(`the program in ${name} compiles, and does what it says`, async (t) => {
    const directory = t.testdir({ build: {} });
    const sources = inLanguage('c');
    const compilations = commands.filter((command) => command.startsWith('cc '));
    t.equal(compilations.length, sources.length, 'each block of C has a command');
    for (const [index, source] of sources.entries()) {
      compileC(source, compilations[index]!, directory);
      const next = source.replace('base * count', 'base * count / 2');
      compileC(next, compilations[index]!, join(directory, 'build'));
    }
    const file = join(directory, 'program.ts');
    const replaces = `(await import('node:fs')).copyFileSync('build/$1', '$1');`;
    writeFileSync(file, program.replace(somebodyReplaces, replaces));
    t.same(compilePrograms([file]), []);
    const ended = await runNode(['program.js'], { cwd: directory });
    t.match(ended, exitedCleanly);
    const promised = promisedOutput(program);
    t.not(promised.length, 0, 'it says what it prints');
    t.same(missingLines(ended.stdout, promised), [], ended.stdout);
  });
}

const runtimes = join(root, 'build/runtimes/node_modules');
const commandsOf: Record<string, [file: string, ...args: string[]]> = {
  bun: [join(runtimes, 'bun/bin/bun')],
  deno: [join(runtimes, 'deno/deno'), 'run', '--allow-all', '--quiet'],
  'node-26': [join(runtimes, 'node-26/bin/node'), '--experimental-ffi', '--no-warnings'],
};
for (const { name, blocks } of written) {
  for (const { language, text, line } of blocks) {
    const [, runtime] = language.split(' ');
    if (runtime === undefined) continue;
    const [file, ...args] = commandsOf[runtime]!;
    const skip = existsSync(file) ? false : 'needs tools/runtimes';
    t.test(`${name}:${line} does what it says, in ${runtime}`, { skip }, async (t) => {
      const directory = t.testdir({ 'program.mjs': text, node_modules: {} });
      symlinkSync(root, join(directory, 'node_modules/soswap'));
      const source = blocks.find((block) => block.language === 'c')?.text ?? '';
      const compilation = blocks.find((block) => /^cc /m.test(block.text))?.text ?? '';
      compileC(source, compilation.trim(), directory);
      const { FORCE_COLOR: _, ...inherited } = process.env;
      const env = { ...inherited, NODE_OPTIONS: '', NO_COLOR: '1' };
      const stdout = execFileSync(file, [...args, 'program.mjs'], {
        cwd: directory,
        encoding: 'utf8',
        env,
      });
      t.same(missingLines(stdout, promisedOutput(text)), [], stdout);
    });
  }
}

t.test('every function and method in the reference has an example', async (t) => {
  let count = 0;
  for (const { name } of reference) {
    const sections = new MarkdownFile(name).text.split(/^#{3,5} (?=.*\(\)$)/m).slice(1);
    count += sections.length;
    for (const section of sections) {
      const [heading = ''] = section.split('\n');
      t.match(section.split(/^#{2,3} (?!#)/m)[0], '```ts', `${name}: ${heading}`);
    }
  }
  t.ok(count > 15, `${count} of them`);
});

t.test('the examples of the reference compile, and do what they say', async (t) => {
  const [source = ''] = new MarkdownFile('README.md')
    .codeBlocks()
    .flatMap(({ language, text }) => (language === 'c' ? text : []));
  const examples = reference.flatMap(({ name, blocks }) =>
    blocks.map(({ text, line }) => ({ text, where: `${name}:${line}` })),
  );
  t.ok(examples.length > 15, `${examples.length} examples`);
  const prelude = `
    import { ${Object.keys(soswap).join(', ')} } from 'soswap';
    import { ${Object.keys(dl).join(', ')} } from 'soswap/dl';
    import koffi from 'koffi';
    import { isMainThread } from 'node:worker_threads';
    import { ${Object.keys(soswapControl).join(', ')} } from 'soswap/control';
    import { ${Object.keys(soswapInclude).join(', ')} } from 'soswap/include';
    import { ${Object.keys(soswapKoffi).join(', ')} } from 'soswap/koffi';
    const price = SoHandle.open('./libprice.so', {
      quote: { arguments: ['float64', 'uint32'], return: 'float64' },
    });
    const group = new SoGroup();
  `;
  const root = t.testdir({});
  compileC(source, 'cc -shared -fPIC price.c -o libprice.so', root);
  const core = '-Wl,-soname,libcore.so';
  compileC(
    'int version(void) { return 1; }',
    `cc -shared -fPIC ${core} core.c -o libcore.so`,
    root,
  );
  const plugin = 'int version(void); int answer(void) { return version(); }';
  compileC(plugin, 'cc -shared -fPIC plugin.c -L. -lcore -o plugin.so', root);
  const files = examples.map(({ text }, index) => {
    const directory = join(root, String(index));
    mkdirSync(join(directory, 'build'), { recursive: true });
    const file = join(directory, 'program.ts');
    // Some declare a `price` of their own.
    writeFileSync(file, `${prelude}\n{\n${text}\n}\n`);
    const needEachOther = text.includes('libcore.so') ? ['libcore.so', 'plugin.so'] : [];
    for (const library of ['libprice.so', 'build/libprice.so', ...needEachOther]) {
      copyFileSync(join(root, basename(library)), join(directory, library));
    }
    return file;
  });
  t.same(compilePrograms(files), []);
  for (const [index, { text, where }] of examples.entries()) {
    const cwd = join(root, String(index));
    const ended = await runNode(['program.js'], { cwd });
    t.match(ended, exitedCleanly, where);
    t.same(missingLines(ended.stdout, promisedOutput(text)), [], `${where}: ${ended.stdout}`);
  }
});
