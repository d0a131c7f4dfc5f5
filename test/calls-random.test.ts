import t from 'tap';
import { runCampaign } from '../fixtures/call-oracle.js';

// test/campaigns/calls.ts runs as many as one likes, with any seed.
t.test('random signatures and arguments arrive in C as they must', async (t) => {
  const campaign = { seed: 20_250_712, signatures: 1000, calls: 10, directory: t.testdir() };
  const findings = await runCampaign(campaign);
  t.comment(`seed ${campaign.seed}: ${JSON.stringify(findings)}`);
  t.same(findings.differences, []);
  t.equal(findings.calls, 10_000);
  t.ok(findings.nonblocking > 100 && findings.refused > 100, 'of each kind');
});
