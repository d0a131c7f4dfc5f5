import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

const headerSize = 64; // of ELF64
const magic = Buffer.from('\x7fELF', 'latin1');

/**
 * Checks whether a file looks like a library whose end is still to be written: it ends before its ELF header or before the
 * section headers, which linkers put last, or begins with zeros. A complete library without section headers may look so
 * too. Reads 64 bytes.
 */
export function isUnfinished(path: string): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // it may be a FIFO
  } catch {
    return false;
  }
  try {
    const status = fstatSync(descriptor);
    return status.isFile() && endsEarly(descriptor, status.size);
  } catch {
    return false;
  } finally {
    closeSync(descriptor);
  }
}

function endsEarly(descriptor: number, size: number): boolean {
  const header = Buffer.alloc(headerSize);
  const length = readSync(descriptor, header, 0, headerSize, 0);
  if (header.every((byte) => byte === 0)) return true;
  const known = Math.min(length, magic.length);
  if (!header.subarray(0, known).equals(magic.subarray(0, known))) return false;
  if (length < headerSize) return true;
  const [elfClass, byteOrder] = header.subarray(magic.length);
  if (elfClass !== 2 || byteOrder !== 1) return false; // it is not for this machine
  const sections = header.readUInt16LE(58) * header.readUInt16LE(60);
  return Number(header.readBigUInt64LE(40)) + sections > size;
}
