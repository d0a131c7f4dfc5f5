// Fails where docs/api is not what `npm run docs` makes of the doc comments, or where a link in Markdown leads to a file or
// a heading that does not exist. The links of the README name the repository, because npm shows the README without it.
// Links to other places are not followed.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import GithubSlugger from 'github-slugger';
import markdownIt from 'markdown-it';

const root = fileURLToPath(new URL('..', import.meta.url));
const markdown = markdownIt({ html: true });
const { homepage } = JSON.parse(textOf(join(root, 'package.json')));
const published = homepage.replace(/#.*/, '/blob/main/');
const complaints = [...staleReference(), ...brokenLinks()];
for (const complaint of complaints) console.error(complaint);
process.exitCode = complaints.length > 0 ? 1 : 0;

function staleReference() {
  const directory = mkdtempSync(join(tmpdir(), 'soswap-docs-'));
  try {
    const typedoc = join(root, 'node_modules/typedoc/bin/typedoc');
    const args = [typedoc, '--logLevel', 'Warn', '--out', directory];
    execFileSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
    const kept = join(root, 'docs/api');
    const names = new Set([...filesIn(directory), ...filesIn(kept)]);
    return [...names]
      .filter((name) => textOf(join(directory, name)) !== textOf(join(kept, name)))
      .map((name) => `docs/api/${name} is not what the doc comments say: npm run docs`);
  } catch (error) {
    return [`typedoc: ${error.message}`];
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function brokenLinks() {
  const tracked = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '*.md'];
  const files = execFileSync('git', tracked, { cwd: root, encoding: 'utf8' }).split('\0');
  return files.filter(Boolean).flatMap((file) => {
    const mustBePublished = (link) => file === 'README.md' && !/^([a-z]+:|#)/.test(link);
    const broken = linksIn(join(root, file)).filter((link) => {
      const here = link.replace(published, '');
      return mustBePublished(link) || !leadsSomewhere(here, join(root, file));
    });
    return broken.map((link) => `${file}: the link to ${link} leads nowhere`);
  });
}

function linksIn(file) {
  const tokens = markdown.parse(textOf(file), {}).flatMap(({ children }) => children ?? []);
  return tokens.flatMap((token) => token.attrGet('href') ?? token.attrGet('src') ?? []);
}

function leadsSomewhere(link, file) {
  if (/^[a-z]+:/.test(link)) return true; // https: and others
  const [path, anchor] = decodeURIComponent(link).split('#');
  const target = path === '' ? file : join(dirname(file), path);
  if (!existsSync(target)) return false;
  return anchor === undefined || anchorsIn(target).has(anchor);
}

/** What GitHub makes of headings, and anchors written as HTML. */
function anchorsIn(file) {
  const slugger = new GithubSlugger();
  const text = textOf(file);
  const tokens = markdown.parse(text, {});
  const headings = tokens
    .filter((_, index) => tokens[index - 1]?.type === 'heading_open')
    .map(({ children }) => children.map(({ content }) => content).join(''))
    .map((heading) => slugger.slug(heading));
  const written = [...text.matchAll(/<a id="([^"]+)">/g)].map(([, id]) => id);
  return new Set([...headings, ...written]);
}

function filesIn(directory) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath ?? entry.path, entry.name)));
}

function textOf(file) {
  return existsSync(file) && statSync(file).isFile() ? readFileSync(file, 'utf8') : undefined;
}
