import { constants } from 'node:os';

/** The flags of dlopen(3), with the values of this system's C library, to be combined with `|`. */
export const dlopenFlags = {
  /** Binds a function when it is first called. */
  RTLD_LAZY: constants.dlopen.RTLD_LAZY,
  /** Binds everything at once, or fails. */
  RTLD_NOW: constants.dlopen.RTLD_NOW,
  /** Objects that are loaded later may bind to its symbols. */
  RTLD_GLOBAL: constants.dlopen.RTLD_GLOBAL,
  /** They may not. What dlopen(3) does without either flag. */
  RTLD_LOCAL: constants.dlopen.RTLD_LOCAL,
  /** Binds to the object's own symbols first. Not with libraries that use iostream: it crashes Node. */
  RTLD_DEEPBIND: constants.dlopen.RTLD_DEEPBIND,
  /** `dlclose` will not unmap the object. From `<dlfcn.h>`; the same in glibc and musl. */
  RTLD_NODELETE: 0x1000,
  /** Does not load: gives a handle only if the object is loaded already. */
  RTLD_NOLOAD: 0x4,
} as const;
