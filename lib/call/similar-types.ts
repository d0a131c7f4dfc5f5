/** Names of C, C++, Rust, Go and JavaScript, for the error message; without `_t`, `const` and upper case. */
const similarTypes = new Map([
  ['boolean', 'bool'],
  ['_bool', 'bool'],
  ['signed char', 'int8'],
  ['unsigned char', 'uint8'],
  ['uchar', 'uint8'],
  ['byte', 'uint8'],
  ['short', 'int16'],
  ['unsigned short', 'uint16'],
  ['ushort', 'uint16'],
  ['int', 'int32'],
  ['signed', 'int32'],
  ['signed int', 'int32'],
  ['unsigned', 'uint32'],
  ['unsigned int', 'uint32'],
  ['uint', 'uint32'],
  ['long', 'int64'],
  ['long int', 'int64'],
  ['long long', 'int64'],
  ['longlong', 'int64'],
  ['bigint', 'int64'],
  ['ssize', 'int64'],
  ['isize', 'int64'],
  ['intptr', 'int64'],
  ['ptrdiff', 'int64'],
  ['unsigned long', 'uint64'],
  ['unsigned long long', 'uint64'],
  ['ulong', 'uint64'],
  ['ulonglong', 'uint64'],
  ['size', 'uint64'],
  ['usize', 'uint64'],
  ['uintptr', 'uint64'],
  ['number', 'float64'],
  ['char*', 'string'],
  ['cstring', 'string'],
  ['text', 'string'],
  ['typedarray', 'buffer'],
  ['uint8array', 'buffer'],
  ['callback', 'function'],
]);

/** Returns the type that may be meant by a name that is none; `undefined` if there is none. */
export function similarType(name: unknown, isType: (name: string) => boolean): string | undefined {
  if (typeof name !== 'string' || name.length > 80) return undefined;
  const plain = name
    .toLowerCase()
    .replace(/\bconst\b/g, '')
    .replace(/\s*([*&])\s*/g, '*')
    .replace(/_t\b/g, '')
    .replace(/\s+/g, ' ')
    .trim();
  const similar = similarTypes.get(plain);
  if (similar !== undefined) return similar;
  if (plain.endsWith('*')) return 'pointer';
  return isType(plain) ? plain : undefined;
}
