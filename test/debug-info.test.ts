import { readdirSync, readFileSync, readSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { SoHandle } from 'soswap';
import t from 'tap';
import { compileAction } from '../fixtures/build.js';

/** The section header offset in the ELF header of the copy that an image is mapped from. */
const sectionHeadersOf = ({ image }: SoHandle): bigint => {
  const base = image!.base.toString(16).padStart(8, '0');
  const mappings = readFileSync('/proc/self/maps', 'utf8').split('\n');
  const inode = mappings.find((line) => line.startsWith(`${base}-`))?.split(/ +/)[4];
  const copy = readdirSync('/proc/self/fd').find((name) => {
    const status = statSync(`/proc/self/fd/${name}`, { bigint: true, throwIfNoEntry: false });
    return `${status?.ino}` === inode;
  });
  const header = Buffer.alloc(64);
  readSync(Number(copy), header, 0, 64, 0);
  return header.readBigUInt64LE(0x28); // e_shoff
};

const path = compileAction(join(t.testdir(), 'so.so'), 1111);

t.test('what only debuggers read is copied where it is little', async (t) => {
  using so = SoHandle.open(path);
  t.ok(sectionHeadersOf(so) > 0n);
});

t.test('where it is much, it is copied on request', async (t) => {
  truncateSync(path, 5_000_000); // zeros behind all that can be loaded
  using without = SoHandle.open(path, { action: {} });
  t.equal(sectionHeadersOf(without), 0n, 'a file without sections, not one with wrong ones');
  using complete = SoHandle.open(path, { action: {} }, { debugInfo: true });
  t.ok(sectionHeadersOf(complete) > 0n);
  t.throws(() => SoHandle.open(path, {}, { debugInfo: 'yes' as never }), {
    name: 'TypeError',
    code: 'ERR_INVALID_ARG_TYPE',
    message: /"options.debugInfo"/,
  });
});
