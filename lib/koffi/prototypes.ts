import koffi, { type TypeObject } from 'koffi';
import { checkSymbolName } from '../call/signature.js';
import { argumentTypeError, argumentValueError } from '../internal/errors.js';
import { flag, type Keys, readOptions } from '../internal/options.js';
import type { KoffiDefinition } from './types.js';

/** One function as its prototype describes it. */
export interface Described {
  readonly type: TypeObject;
  readonly symbol: string;
  readonly optional: boolean;
  readonly errno: boolean;
}

const definitionKeys: Keys<KoffiDefinition> = {
  prototype: true,
  symbol: true,
  optional: true,
  errno: true,
};

/** koffi keeps every type for ever: one for each text. */
const anonymous = new Map<string, TypeObject>();

/**
 * Reads the prototype of a function, each property once.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`
 */
export function describe(name: string, value: unknown): Described {
  if (typeof value === 'string' || isType(value)) return describe(name, { prototype: value });
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw argumentTypeError(name, 'a prototype: a string, koffi.proto() or an object', value);
  }
  const { prototype, symbol, optional, errno } = readOptions(name, value, definitionKeys);
  const [type, own] = typeOf(`${name}.prototype`, prototype);
  const found = symbol ?? own ?? name;
  checkSymbolName(found);
  return {
    type,
    symbol: found,
    optional: flag(`${name}.optional`, optional),
    errno: flag(`${name}.errno`, errno),
  };
}

/** The type of a prototype, and the name of the function if the prototype has it. */
function typeOf(name: string, prototype: unknown): [type: TypeObject, name?: string] {
  if (typeof prototype !== 'string') {
    if (isType(prototype) && prototype.primitive === 'Prototype') return [prototype];
    throw argumentTypeError(name, 'a string or what koffi.proto() returns', prototype);
  }
  const [, before = '', own, after = ''] =
    /^([^(]*?)([A-Za-z_]\w*)?\s*(\(.*)$/s.exec(prototype.trim()) ?? [];
  const isAnonymous = own === undefined || isTypeName(`${before}${own}`);
  // A name would become that of a type, and koffi accepts each only once.
  const text = isAnonymous ? prototype : `${before} ${after}`;
  try {
    const type = anonymous.get(text) ?? koffi.proto(text);
    anonymous.set(text, type);
    return isAnonymous ? [type] : [type, own];
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const error = argumentValueError(name, `is no prototype for koffi: ${why}`, prototype);
    throw Object.assign(error, { cause });
  }
}

function isTypeName(text: string): boolean {
  try {
    koffi.type(text.trim());
    return true;
  } catch {
    return false;
  }
}

/** Whether a value is a type of koffi. */
export function isType(value: unknown): value is TypeObject {
  return typeof value === 'object' && value !== null && 'primitive' in value && 'size' in value;
}
