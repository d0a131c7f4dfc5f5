import { join } from 'node:path';
import t from 'tap';
import { runCampaign } from '../fixtures/call-oracle.js';
import { exitedCleanly, root, runNode } from '../fixtures/child.js';

// test/campaigns/calls.ts runs as many as one likes, with any seed.
t.test('random signatures and arguments arrive in C as they must', async (t) => {
  const campaign = { seed: 20_250_712, signatures: 1000, calls: 10, directory: t.testdir() };
  const findings = await runCampaign(campaign);
  t.comment(`seed ${campaign.seed}: ${JSON.stringify(findings)}`);
  t.same(findings.differences, []);
  t.equal(findings.calls, 10_000);
  t.ok(findings.nonblocking > 100 && findings.refused > 100, 'of each kind');
});

t.test('they do so from code that V8 has compiled', async (t) => {
  const campaign = join(root, 'test/campaigns/calls.ts');
  const loader = ['--import', './tools/typescript.js', '--no-warnings'];
  const { stdout, ...ended } = await runNode(
    ['--allow-natives-syntax', ...loader, campaign, '1000', '20261126'],
    { cwd: root },
  );
  t.match(ended, exitedCleanly, stdout);
  t.match(stdout, / 0 differences/);
  const [, fast = ''] = /fast: (\d+)/.exec(stdout) ?? [];
  t.ok(Number(fast) > 300, `${fast} fast calls of 4,000`);
});
