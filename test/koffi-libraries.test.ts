import { fileURLToPath } from 'node:url';
import t from 'tap';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';

// test/campaigns/koffi.js makes 100,000 calls and more.
const campaign = fileURLToPath(new URL('campaigns/koffi.js', import.meta.url));

t.test('SQLite, zlib and others answer under swaps, in workers too', async (t) => {
  const args = ['--calls', '3000', '--every', '10', '--workers', '2'];
  const ended = await runNode([campaign, ...args], { cwd: root });
  t.match(ended, { ...exitedCleanly, stdout: /^9\d{3} calls, \d{2,} swaps, nothing wrong\n$/ });
});
