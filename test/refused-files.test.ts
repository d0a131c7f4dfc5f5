import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SoErrorCode } from 'soswap';
import t, { type Test } from 'tap';
import { compile, compileAction, copyBuilds, twoBuilds } from '../fixtures/build.js';
import { exitedCleanly, runProgram } from '../fixtures/child.js';
import { patch, segmentEnds, set32Bit, setOtherMachine, setType } from '../fixtures/elf.js';

const builds = twoBuilds(t.testdir());
const whole = readFileSync(builds.one);

interface Refused {
  readonly what: string;
  readonly code: SoErrorCode;
  readonly message?: RegExp;
  /** Puts the refused thing at `path`; without it there is nothing at all. */
  readonly make?: (path: string, t: Test) => unknown;
}

const cut = (size: number) => (path: string) => {
  copyFileSync(builds.one, path);
  truncateSync(path, size);
};
const patched = (change: (bytes: Buffer) => void) => (path: string) =>
  patch(builds.one, path, change);

const refusedFiles: Refused[] = [
  { what: 'no file', code: 'ERR_SOSWAP_NOT_FOUND' },
  {
    what: 'a symlink to nothing',
    code: 'ERR_SOSWAP_NOT_FOUND',
    make: (path) => symlinkSync('nothing', path),
  },
  {
    what: 'a symlink to itself',
    code: 'ERR_SOSWAP_UNREADABLE',
    make: (path) => symlinkSync('so.so', path), // its own name soon
  },
  { what: 'a directory', code: 'ERR_SOSWAP_NOT_A_FILE', make: (path) => mkdirSync(path) },
  {
    what: 'a FIFO that nobody writes to',
    code: 'ERR_SOSWAP_NOT_A_FILE',
    make: (path) => execFileSync('mkfifo', [path]),
  },
  {
    what: '/dev/null',
    code: 'ERR_SOSWAP_NOT_A_FILE',
    make: (path) => symlinkSync('/dev/null', path),
  },
  {
    what: '/dev/zero',
    code: 'ERR_SOSWAP_NOT_A_FILE',
    make: (path) => symlinkSync('/dev/zero', path),
  },
  { what: 'a socket', code: 'ERR_SOSWAP_NOT_A_FILE', make: listenAt },
  { what: 'an empty file', code: 'ERR_SOSWAP_TRUNCATED', make: (path) => writeFileSync(path, '') },
  { what: 'a text', code: 'ERR_SOSWAP_NOT_ELF', make: (path) => writeFileSync(path, 'not ELF\n') },
  {
    what: 'a longer text',
    code: 'ERR_SOSWAP_NOT_ELF',
    make: (path) => writeFileSync(path, 'not ELF\n'.repeat(10_000)),
  },
  {
    what: 'a linker script',
    code: 'ERR_SOSWAP_NOT_ELF',
    make: (path) => writeFileSync(path, 'INPUT(libz.so)\n'),
  },
  {
    what: 'a library for another processor',
    code: 'ERR_SOSWAP_WRONG_MACHINE',
    make: patched(setOtherMachine),
  },
  {
    what: 'a library for 32-bit words',
    code: 'ERR_SOSWAP_WRONG_MACHINE',
    make: patched(set32Bit),
  },
  {
    what: 'an object file',
    code: 'ERR_SOSWAP_NOT_SHARED_OBJECT',
    make: (path) => compileAction(path, 1111, '-c'),
  },
  {
    what: 'the file of a running program',
    code: 'ERR_SOSWAP_NOT_SHARED_OBJECT',
    make: (path) => symlinkSync(process.execPath, path),
  },
  {
    what: 'a position-independent program',
    code: 'ERR_SOSWAP_NOT_SHARED_OBJECT',
    make: (path) => compile('program.c', path, '-fPIE', '-pie'),
  },
  {
    what: 'a core dump',
    code: 'ERR_SOSWAP_NOT_SHARED_OBJECT',
    make: patched((bytes) => setType(bytes, 4)),
  },
  {
    what: 'a library without the symbols',
    code: 'ERR_SOSWAP_MISSING_SYMBOL',
    message: /action, count/,
    make: (path) => compile('dependency.c', path),
  },
  // test/truncated.test.ts cuts them everywhere.
  ...[63, Math.max(...segmentEnds(whole)) - 1].map((size) => ({
    what: `the first ${size} of ${whole.length} bytes`,
    code: 'ERR_SOSWAP_TRUNCATED' as const,
    make: cut(size),
  })),
];

async function listenAt(path: string, t: Test): Promise<void> {
  // The name of a socket must be short.
  const directory = mkdtempSync(join(tmpdir(), 'soswap-test-'));
  const server = createServer().listen(join(directory, 'socket'));
  await once(server, 'listening');
  symlinkSync(join(directory, 'socket'), path);
  t.teardown(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
}

// Every way to swap, and then what the old image says: its code, and the count of its calls so far.
const program = `
  import { execFileSync } from 'node:child_process';
  import { SoHandle } from 'soswap';
  const definitions = { action: { return: 'int32' }, count: { return: 'int32' } };
  const so = SoHandle.open('./so.so', definitions);
  const { action, count } = so.functions;
  count();
  const { image } = so;
  execFileSync('rm', ['so.so']);
  try {
    execFileSync('mv', ['-T', 'bad', 'so.so'], { stdio: 'ignore' });
  } catch {}
  const attempts = {
    open: () => SoHandle.open('./so.so', definitions),
    swapSync: () => so.swapSync(),
    'swapSync open-first': () => so.swapSync({ order: 'open-first' }),
    swap: () => so.swap(),
    'swap open-first': () => so.swap({ order: 'open-first' }),
  };
  for (const [name, attempt] of Object.entries(attempts)) {
    let error;
    try {
      await attempt();
    } catch (thrown) {
      error = { name: thrown.name, code: thrown.code, message: thrown.message, path: thrown.path };
    }
    const sameImage = so.image === image && so.generation === 1;
    process.send({ name, error, sameImage, called: [action(), count()] });
  }
  execFileSync('rm', ['-rf', 'so.so']);
  execFileSync('cp', ['so2.so', 'so.so']);
  so.swapSync();
  process.send([action(), count()]);
`;

for (const { what, code, message = /./, make } of refusedFiles) {
  t.test(`${what} is refused with ${code}`, async (t) => {
    const cwd = t.testdir();
    const { so } = copyBuilds(builds, cwd);
    await make?.(join(cwd, 'bad'), t);
    const ended = await runProgram(program, { cwd });
    t.match(ended, exitedCleanly);
    const [open, swapSync, swapSyncOpenFirst, swap, swapOpenFirst, repaired] = ended.messages;
    const error = { name: 'SoError', code, message, path: so };
    const refused = (calls: number) => ({ error, sameImage: true, called: [1111, calls] });
    t.match(open, { name: 'open', ...refused(2) });
    t.match(swapSync, { name: 'swapSync', ...refused(3) });
    t.match(swapSyncOpenFirst, { name: 'swapSync open-first', ...refused(4) });
    t.match(swap, { name: 'swap', ...refused(5) });
    t.match(swapOpenFirst, { name: 'swap open-first', ...refused(6) });
    t.same(repaired, [2222, 1], 'a good file is taken afterwards');
  });
}
