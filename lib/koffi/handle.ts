import { SoHandle } from '../handle/so-handle.js';
import { argumentTypeError } from '../internal/errors.js';

/** @throws {TypeError} `ERR_INVALID_ARG_TYPE` */
export function checkHandle(handle: unknown): asserts handle is SoHandle {
  if (!(handle instanceof SoHandle)) throw argumentTypeError('handle', 'an SoHandle', handle);
}
