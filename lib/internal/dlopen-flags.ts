import { constants } from 'node:os';

/** The flags of dlopen(3), with the values of the C library of this system. Combine them with `|`. */
export const dlopenFlags = {
  /** Resolves a function when it is first called. */
  RTLD_LAZY: constants.dlopen.RTLD_LAZY,
  /** Resolves all symbols during dlopen(3), which fails if one is undefined. */
  RTLD_NOW: constants.dlopen.RTLD_NOW,
  /** Makes the symbols of the object available to objects that are loaded later. */
  RTLD_GLOBAL: constants.dlopen.RTLD_GLOBAL,
  /** Hides the symbols of the object from other objects. dlopen(3) does this without either flag. */
  RTLD_LOCAL: constants.dlopen.RTLD_LOCAL,
  /** Makes the object use its own symbols first. Crashes Node.js with libraries that use iostream. */
  RTLD_DEEPBIND: constants.dlopen.RTLD_DEEPBIND,
  /** Keeps the object mapped after `dlclose`. The value is that of `<dlfcn.h>` in glibc and musl. */
  RTLD_NODELETE: 0x1000,
  /** Returns a handle only if the object is already loaded; never loads it. */
  RTLD_NOLOAD: 0x4,
} as const;
