import { SoErrorCode } from 'soswap';
import t from 'tap';
import { MarkdownFile } from '../fixtures/markdown.js';

t.test('the README lists every error code', async (t) => {
  const { text } = new MarkdownFile('README.md');
  const section = /\n## Errors\n(.*?)\n## /s.exec(text)?.[1] ?? '';
  t.same(
    [...new Set(section.match(/ERR_SOSWAP_[A-Z_]+/g))].sort(),
    Object.values(SoErrorCode).sort(),
  );
});
