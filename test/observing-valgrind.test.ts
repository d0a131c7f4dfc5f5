// docs/observing.md says what valgrind(1) shows of a library that soswap runs. A file of its own: that takes long.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { compile } from '../fixtures/build.js';
import { plainNode, root } from '../fixtures/child.js';

const program = fileURLToPath(new URL('../fixtures/observed.js', import.meta.url));
const found = spawnSync('valgrind', ['--version']).status === 0;

t.test(
  'valgrind(1) names functions and lines of what is mapped directly only',
  { skip: !found && 'needs valgrind(1)' },
  (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'soswap-observing-'));
    t.teardown(() => rmSync(directory, { recursive: true, force: true }));
    const library = compile('observed.c', join(directory, 'libobserved.so'), '-g');
    const [command, args] = plainNode(['--jitless', program, library, 'observed_overrun', 'both']);
    const { stderr, status } = spawnSync('valgrind', ['--trace-children=yes', command, ...args], {
      cwd: root,
      encoding: 'utf8',
    });
    t.equal(status, 0);
    t.match(stderr, /: \?\?\? \(in \/memfd:libobserved\.so/);
    t.match(stderr, /: observed_overrun \(observed\.c:\d+\)/);
    t.end();
  },
);
