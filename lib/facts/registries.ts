import type { SoImport } from '../native/types.js';

/** A registry that a library registers itself in when it is loaded, and that may outlive the image. */
export interface SoRegistry {
  /** The name of the software that has the registry. */
  readonly name: string;
  /** The imported function that registers, as nm(1) shows it. */
  readonly symbol: string;
  /** What the registry does when the next image registers the same again. */
  readonly effect: string;
  /** What to do. */
  readonly cure: string;
}

const cure =
  'rehearse each swap (quarantine: true); give the library its own copy of the registry: link that statically with hidden ' +
  'symbols; or swap all that use the registry, and the registry, together';

const known = [
  {
    name: 'Protocol Buffers',
    pattern: /^_ZN6google8protobuf8internal\d+AddDescriptors/,
    effect: 'the pool of descriptors ends the process at the second registration of a file',
  },
];

/** Finds the registries in the imports of a library. */
export function registriesOf(imports: readonly SoImport[]): SoRegistry[] {
  return known.flatMap(({ name, pattern, effect }) => {
    const found = imports.find((each) => pattern.test(each.name));
    return found === undefined ? [] : [{ name, symbol: found.name, effect, cure }];
  });
}
