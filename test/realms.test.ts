import t from 'tap';
import { twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, root, runProgram } from '../fixtures/child.js';

// vitest and jest run a program and its modules in a vm.Context, and share addons among all of them.

const { one, two } = twoBuilds(t.testdir());

const program = `
  import { readFileSync } from 'node:fs';
  import { pathToFileURL, fileURLToPath } from 'node:url';
  import vm from 'node:vm';

  /** Loads modules in a context of their own; those of Node.js are shared. */
  function importer() {
    const context = vm.createContext({ process, Buffer, URL, setTimeout, clearTimeout });
    const modules = new Map();
    const load = async (name, referrer) => {
      if (name.startsWith('node:')) {
        const shared = await import(name);
        return new vm.SyntheticModule(Object.keys(shared), function () {
          for (const key of Object.keys(shared)) this.setExport(key, shared[key]);
        }, { context });
      }
      const url = new URL(name, referrer.identifier).href;
      const module = modules.get(url) ?? new vm.SourceTextModule(readFileSync(fileURLToPath(url), 'utf8'), {
        context,
        identifier: url,
        initializeImportMeta: (meta) => { meta.url = url; },
        importModuleDynamically: load,
      });
      modules.set(url, module);
      return module;
    };
    return async (text) => {
      const identifier = pathToFileURL(process.cwd() + '/program.js').href;
      const module = new vm.SourceTextModule(text, { context, identifier });
      await module.link(load);
      await module.evaluate();
      return module.namespace.default;
    };
  }

  const text = \`
    import { copyFileSync } from 'node:fs';
    import { SoError, SoHandle } from './dist/index.js';
    const kinds = (act) => {
      try {
        act();
      } catch (error) {
        return [Error, TypeError, SoError].map((kind) => error instanceof kind);
      }
    };
    const so = SoHandle.open(${JSON.stringify(one)}, { version: { return: 'string' } });
    const { version } = so.functions;
    const before = version();
    copyFileSync(${JSON.stringify(two)}, ${JSON.stringify(one)});
    const report = await so.swap();
    copyFileSync('package.json', ${JSON.stringify(one)});
    const refused = await so.swap().catch((error) => error);
    const errors = [
      kinds(() => version(1)),
      kinds(() => SoHandle.open(5)),
      kinds(() => SoHandle.open('/absent.so')),
      [refused instanceof Error, false, refused instanceof SoError],
    ];
    copyFileSync(${JSON.stringify(two)}, ${JSON.stringify(one)});
    so.close();
    errors.push(kinds(version));
    export default { swapped: [before, report.generation], errors };
  \`;
  process.send(await importer()(text));
  process.send(await importer()(text));
`;

t.test('errors belong to the context that imported the package', async (t) => {
  const flags = ['--experimental-vm-modules', '--no-warnings'];
  const ended = await runProgram(program, { cwd: root }, ...flags);
  t.match(ended, exitedCleanly);
  const errors = [
    [true, true, false],
    [true, true, false],
    [true, false, true],
    [true, false, true],
    [true, false, true],
  ];
  t.same(ended.messages, [
    { swapped: ['build 1111', 2], errors },
    { swapped: ['build 2222', 2], errors },
  ]);
});
