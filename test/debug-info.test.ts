import { statSync } from 'node:fs';
import { join } from 'node:path';
import { SoHandle } from 'soswap';
import t from 'tap';
import { compile, compileAction } from '../fixtures/build.js';

const directory = t.testdir();
const path = compileAction(join(directory, 'so.so'), 1111, '-g3');
const memory = SoHandle.open(compile('calls.c', join(directory, 'calls.so')), {
  move_bytes: { arguments: ['buffer', 'pointer', 'uint64'] },
});
t.teardown(() => memory.close());

/** Where the copy that an image is mapped from says that its section headers are. */
const sectionHeadersOf = ({ image }: SoHandle): bigint => {
  const header = Buffer.alloc(64); // which the loader maps too
  memory.functions.move_bytes(header, image!.base, header.length);
  return header.readBigUInt64LE(0x28); // e_shoff
};

t.test('what only debuggers read is copied on request', async (t) => {
  using without = SoHandle.open(path, { action: {} });
  t.equal(sectionHeadersOf(without), 0n, 'a file without sections, not one with wrong ones');
  using complete = SoHandle.open(path, { action: {} }, { debugInfo: true });
  t.ok(sectionHeadersOf(complete) > 0n);
  const pages = Math.ceil(statSync(path).size / 4096) * 4096;
  t.equal(complete.image?.copySize, pages, 'the whole file');
  t.ok(without.image!.copySize < pages);
  t.throws(() => SoHandle.open(path, {}, { debugInfo: 'yes' as never }), {
    name: 'TypeError',
    code: 'ERR_INVALID_ARG_TYPE',
    message: /options\.debugInfo/,
  });
});
