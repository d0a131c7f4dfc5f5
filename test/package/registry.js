import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

/** Starts a registry on loopback that has the package in this tarball, and nothing else. Returns its address. */
export async function serve(tarball) {
  const answers = new Map();
  const server = createServer(({ url }, response) => {
    const answer = answers.get(decodeURIComponent(url));
    response.writeHead(answer === undefined ? 404 : 200).end(answer);
  });
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  const address = `http://127.0.0.1:${server.address().port}`;
  const content = readFileSync(tarball);
  const { name, ...rest } = description(tarball, content, `${address}/package.tgz`);
  answers.set('/package.tgz', content).set(`/${name}`, JSON.stringify({ name, ...rest }));
  return address;
}

/** What a registry says of the package in a tarball. */
function description(file, content, tarball) {
  const text = execFileSync('tar', ['-xOf', file, 'package/package.json'], { encoding: 'utf8' });
  const manifest = JSON.parse(text);
  const { name, version } = manifest;
  const integrity = `sha512-${createHash('sha512').update(content).digest('base64')}`;
  return {
    name,
    'dist-tags': { latest: version },
    time: { [version]: '2020-01-01T00:00:00.000Z' }, // some managers refuse what is new
    versions: { [version]: { ...manifest, dist: { integrity, tarball } } },
  };
}
