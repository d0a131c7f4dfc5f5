import { fileURLToPath } from 'node:url';
import t from 'tap';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';

// test/campaigns/sequences.js does as many as one likes, with any seed.
const campaign = fileURLToPath(new URL('campaigns/sequences.js', import.meta.url));

t.test('random sequences of operations answer as the model does', async (t) => {
  const ended = await runNode([campaign, '--sequences', '200', '--seed', '15'], { cwd: root });
  t.match(ended, { ...exitedCleanly, stdout: 'seed 15\n200 sequences, nothing wrong\n' });
});

t.test('a wrong answer ends it with 1, and shows the sequence', async (t) => {
  const program = `
    import { SoHandle } from 'soswap';
    SoHandle.prototype.status = () => 'current';
    process.argv.push('--sequences', '200', '--seed', '15');
    await import(${JSON.stringify(campaign)});`;
  const ended = await runNode(['--input-type=module', '--eval', program], {
    cwd: root,
  });
  t.match(ended, {
    code: 1,
    signal: null,
    stderr: /seed 15, sequence \d+:\n.*status\(\): "current" instead/s,
  });
});
