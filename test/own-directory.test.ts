import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SoHandle } from 'soswap';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { exitedCleanly, root, runProgram } from '../fixtures/child.js';

const definitions = {
  generation: { return: 'int32' },
  path_in_constructor: { return: 'string' },
  path_by_dladdr: { return: 'string' },
  path_by_phdr: { return: 'string' },
  path_of: { arguments: ['pointer'], return: 'string' },
  provided_beside: { return: 'int32' },
  provided_by_runpath: { return: 'int32' },
  last_error: { return: 'string' },
  generation_by_path: { arguments: ['int32'], return: 'int32' },
} as const;

const RTLD_NOW = 2;
const RTLD_NOLOAD = 4;

const provider = compile('provider.c', join(t.testdir(), 'libprovider.so'), '-DVALUE=42');

/** Puts this generation of the library in its place. */
function put(directory: string, generation: number): string {
  const path = join(directory, 'libwhere.so');
  const flags = [`-DGENERATION=${generation}`, '-Wl,-rpath,$ORIGIN', '-ldl'];
  compile('own-directory.c', `${path}.new`, ...flags);
  renameSync(`${path}.new`, path);
  return path;
}

function putProvider(directory: string, value: number): void {
  const path = join(directory, 'libprovider.so');
  compile('provider.c', `${path}.new`, `-DVALUE=${value}`);
  renameSync(`${path}.new`, path);
}

for (const binding of ['now', 'lazy'] as const) {
  t.test(
    `binding: '${binding}': a library finds its own path, before and after a swap`,
    async (t) => {
      const directory = t.testdir();
      const path = put(directory, 1);
      const so = SoHandle.open(path, definitions, { binding });
      const f = so.functions;
      const finds = (generation: number) => {
        t.equal(f.generation(), generation);
        t.equal(f.path_in_constructor(), path);
        t.equal(f.path_by_dladdr(), path);
        t.equal(f.path_by_phdr(), path);
        t.equal(f.generation_by_path(RTLD_NOW), generation, 'dlopen(3) of its own path');
        t.equal(f.generation_by_path(RTLD_NOW | RTLD_NOLOAD), generation, 'and with RTLD_NOLOAD');
      };
      finds(1);
      put(directory, 2);
      finds(1);
      t.match(await so.swap(), { generation: 2, unmapped: true, retained: [] });
      finds(2);
      put(directory, 3);
      t.match(await so.swap({ quarantine: true, order: 'open-first' }), { unmapped: true });
      finds(3);
      so.close();
    },
  );
}

t.test('a library loads a provider from its own directory, before and after a swap', async (t) => {
  const directory = t.testdir();
  const path = put(directory, 1);
  putProvider(directory, 42);
  const so = SoHandle.open(path, definitions);
  const f = so.functions;
  t.same([f.provided_beside(), f.provided_by_runpath()], [42, 42]);
  put(directory, 2);
  putProvider(directory, 43);
  t.match(await so.swap(), { unmapped: true });
  t.same([f.provided_beside(), f.provided_by_runpath()], [43, 43]);
  rmSync(join(directory, 'libprovider.so'));
  t.equal(f.provided_beside(), -1);
  t.match(f.last_error(), `${directory}/libprovider.so: cannot open shared object file`);
  t.equal(f.provided_by_runpath(), -1);
  t.match(f.last_error(), 'libprovider.so: cannot open shared object file');
  so.close();
});

t.test('a library whose call of dlopen(3) is its last instruction is recognized too', async (t) => {
  const directory = t.testdir();
  putProvider(directory, 7);
  const path = join(directory, 'libwhere.so');
  const flags = ['-O2', '-foptimize-sibling-calls', '-Wl,-rpath,$ORIGIN', '-ldl'];
  compile('own-directory.c', path, '-DGENERATION=1', ...flags);
  const signature = { arguments: ['string'], return: 'pointer' } as const;
  using so = SoHandle.open(path, { open_library: signature });
  for (let generation = 1; generation <= 2; generation++) {
    t.not(so.functions.open_library('libprovider.so'), 0n, 'by its RUNPATH');
    t.not(so.functions.open_library(path), 0n, 'itself');
    t.equal((await so.swap({ unload: 'never' })).generation, generation + 1);
  }
});

t.test('a library learns the path of another image of soswap', (t) => {
  const directory = t.testdir();
  const so = SoHandle.open(put(directory, 1), definitions);
  const other = SoHandle.open(provider, { provide: { return: 'int32' } });
  t.equal(so.functions.path_of(other.getSymbol('provide')), provider);
  other.close();
  so.close();
  t.end();
});

t.test("image: 'direct': the loader answers, and finds the same", (t) => {
  const directory = t.testdir();
  const path = put(directory, 1);
  putProvider(directory, 42);
  const so = SoHandle.open(path, definitions, { image: 'direct' });
  const f = so.functions;
  t.same([f.path_by_dladdr(), f.path_by_phdr()], [path, path]);
  t.same([f.provided_beside(), f.provided_by_runpath()], [42, 42]);
  t.equal(f.generation_by_path(RTLD_NOW | RTLD_NOLOAD), 1);
  so.close();
  t.end();
});

t.test(
  'an image that outlives the worker that loaded the addon goes on finding its path',
  async (t) => {
    const directory = t.testdir();
    const path = put(directory, 1);
    // The worker alone loads the addon. Its image stays, and the main thread calls it at the end.
    const program = `
    import { Worker } from 'node:worker_threads';
    import { once } from 'node:events';
    const text = \`
      const { parentPort } = await import('node:worker_threads');
      const { SoHandle } = await import('soswap');
      const so = SoHandle.open(${JSON.stringify(path)}, {}, { unload: 'never' });
      parentPort.postMessage(so.getSymbol('path_by_dladdr'));
      so.close();\`;
    const worker = new Worker(text, { eval: true });
    const exited = once(worker, 'exit'); // which may come together with the message
    const [address] = await once(worker, 'message');
    await exited;
    const dl = await import('soswap/dl');
    console.log(dl.functionAt(address, { return: 'string' })());
  `;
    t.match(await runProgram(program, { cwd: root }), { ...exitedCleanly, stdout: `${path}\n` });
  },
);
