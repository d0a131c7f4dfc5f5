import { SoError } from '../internal/errors.js';
import { type FastAddon, fastAddon, outcome } from '../native/fast-addon.js';
import type { BoundFunction, EncodedSignature } from '../native/types.js';

/** What a type of an argument is for V8, and the checks that V8 leaves out. */
interface FastType {
  /** The letter of native/fast. */
  readonly letter: 'i' | 'l' | 'u' | 'f' | 'd';
  /** An expression that is true for the values that Node-API takes, or for the commonest of them. Runs no code of the program. */
  check(name: string): string;
  /** The value that is passed. */
  pass(name: string): string;
  /** What the function returned, from the result of V8. */
  result(name: string): string;
}

/** An integer of at most 32 bits. Each expression makes the same of a number that fits, and 0 of -0. */
const narrow = (cut: (name: string) => string): FastType => ({
  letter: 'i',
  check: (name) => `typeof ${name} === 'number' && (${cut(name)}) === ${name}`,
  pass: (name) => `${name} | 0`,
  result: cut,
});

/** 64 bits. What is no bigint but taken as one becomes one, if `other` is true for it: `arguments` keeps what it was. */
const wide = (
  letter: 'l' | 'u',
  cut: 'asIntN' | 'asUintN',
  other: (name: string) => string,
): FastType => ({
  letter,
  check: (name) =>
    `(typeof ${name} === 'bigint' ? ${cut}(64, ${name}) === ${name} : ${other(name)})`,
  pass: (name) => name,
  result: (name) => name,
});

const floating = (letter: 'f' | 'd'): FastType => ({
  letter,
  check: (name) => `typeof ${name} === 'number'`,
  pass: (name) => name,
  result: (name) => name,
});

const int8 = narrow((name) => `${name} << 24 >> 24`);
const uint8 = narrow((name) => `${name} & 255`);

const address = wide('u', 'asUintN', (name) => `${name} === null && (${name} = 0n, true)`);

/** By the numbers of lib/call/signature.ts, from 1 on. Other types are not for fast calls. */
const fastTypes: readonly (FastType | undefined)[] = [
  uint8, // bool
  process.arch === 'arm64' ? uint8 : int8, // char
  int8,
  uint8,
  narrow((name) => `${name} << 16 >> 16`),
  narrow((name) => `${name} & 65535`),
  narrow((name) => `${name} | 0`),
  narrow((name) => `${name} >>> 0`),
  wide('l', 'asIntN', (name) => `isSafeInteger(${name}) && (${name} = toBigInt(${name}), true)`),
  wide(
    'u',
    'asUintN',
    (name) => `isSafeInteger(${name}) && ${name} >= 0 && (${name} = toBigInt(${name}), true)`,
  ),
  floating('f'),
  floating('d'),
  address, // pointer
  undefined, // string
  undefined, // buffer
  undefined, // arraybuffer
  address, // function
];

/** From this release of Node.js on, a function may call back into JavaScript while compiled code waits for it. */
export const callbackRelease = 24;
/** From this one on, V8 passes 64-bit integers as bigints. */
const bigintRelease = 22;
export const nodeRelease = Number.parseInt(process.versions.node, 10);

const integerRegisters = process.arch === 'arm64' ? 8 : 6;
const floatingRegisters = 8;

/** Makes a function that behaves as `slow` does. */
type Maker = (slow: BoundFunction, low: number, high: number, failed: () => Error) => BoundFunction;

/** By the types of the signature. A maker is `undefined` if there is none of these types. */
const makers = new Map<string, Maker | undefined>();

const { apply, defineProperty } = Reflect;
/** What the texts use beside the arguments: as it was before the program could replace it. */
const { asIntN, asUintN } = BigInt;
const { isSafeInteger } = Number;
const builtIn = { apply, asIntN, asUintN, isSafeInteger, toBigInt: BigInt };

/** What a fast call calls. */
export interface FastTarget {
  readonly path: string;
  readonly symbol: string;
  /** An address, of which V8 passes the halves. */
  readonly address: () => number;
}

/**
 * Returns a function that does what `slow` does, and that V8 compiles into its callers with a direct call of the C
 * function; or `slow` where that cannot be.
 *
 * A call with the usual arguments reads the slot in the addon, as `slow` does. Whatever is unusual goes to `slow`, which
 * throws what there is to throw. No native function has run by then.
 *
 * @param leaf The function never calls back into JavaScript; `undefined`: nobody knows.
 */
export function fastCall(
  slow: BoundFunction,
  signature: EncodedSignature,
  leaf: boolean | undefined,
  { path, symbol, address: addressOf }: FastTarget,
): BoundFunction {
  if (!isEligible(signature, leaf)) return slow;
  const make = makerOf(signature);
  if (make === undefined) return slow;
  const target = addressOf();
  const call = make(slow, target | 0, (target / 2 ** 32) | 0, () => nativeException(path, symbol));
  // As of a function of Node-API. A setter on Object.prototype must not see it.
  defineProperty(call, 'name', { __proto__: null, value: symbol, configurable: true } as object);
  return call;
}

/** Node-API and this one throw the same; native/binding/call/call_error.cc. */
function nativeException(path: string, symbol: string): SoError {
  const text = fastAddon().addon?.takeExceptionText() ?? null;
  const message = `${symbol}() threw a C++ exception${text === null ? '' : `: ${text}`}`;
  return new SoError('ERR_SOSWAP_NATIVE_EXCEPTION', message, path, symbol);
}

function isEligible(
  { returnType, argumentTypes, nonblocking, errno }: EncodedSignature,
  leaf: boolean | undefined,
): boolean {
  if (nonblocking || errno || leaf === false) return false;
  if (leaf !== true && nodeRelease < callbackRelease) return false;
  if (returnType !== 0 && typeOf(returnType) === undefined) return false;
  let integers = 0;
  let numbers = 0;
  for (let index = 0; index < argumentTypes.length; index++) {
    const letter = typeOf(argumentTypes[index] as number)?.letter;
    if (letter === undefined) return false;
    if (letter === 'f' || letter === 'd') numbers++;
    else integers++;
  }
  return integers <= integerRegisters && numbers <= floatingRegisters;
}

function typeOf(code: number): FastType | undefined {
  const type = fastTypes[code - 1];
  const isWide = type?.letter === 'l' || type?.letter === 'u';
  return isWide && nodeRelease < bigintRelease ? undefined : type;
}

function makerOf({ returnType, argumentTypes }: EncodedSignature): Maker | undefined {
  const key = `${returnType}:${argumentTypes.join()}`;
  if (makers.has(key)) return makers.get(key);
  const { addon } = fastAddon();
  const maker = addon && newMaker(addon, returnType, argumentTypes);
  makers.set(key, maker);
  return maker;
}

/**
 * What V8 learns about a function holds for all that were made of one text. So there is a text for each list of types: its
 * functions call the same function of the addon, and differ in the address that they pass.
 */
function newMaker(
  addon: FastAddon,
  returnType: number,
  argumentTypes: readonly number[],
): Maker | undefined {
  const result = typeOf(returnType);
  const types = argumentTypes.map((code) => typeOf(code) as FastType);
  const isFloating = ({ letter }: FastType) => letter === 'f' || letter === 'd';
  const values = types.map((type, index) => ({ type, name: `a${index}` }));
  const inOrder = [
    ...values.filter(({ type }) => !isFloating(type)),
    ...values.filter(({ type }) => isFloating(type)),
  ];
  const letters = inOrder.map(({ type }) => type.letter).join('');
  const unchecked = addon.make(`${result?.letter ?? 'v'}${letters}`);
  if (unchecked === undefined) return undefined;
  const passed = inOrder.map(({ type, name }) => type.pass(name));
  const checks = [
    `arguments.length === ${types.length}`,
    ...values.map(({ type, name }) => type.check(name)),
  ];
  const text = `'use strict';
return (slow, low, high, failed) => function (${values.map(({ name }) => name).join(', ')}) {
  if (${checks.join(' && ')}) {
    const value = unchecked(${['low', 'high', ...passed].join(', ')});
    if (outcome[0] === ${outcome.returned}) return ${result?.result('value') ?? 'undefined'};
    const exception = outcome[0] === ${outcome.exception};
    outcome[0] = ${outcome.returned};
    if (exception) throw failed();
  }
  return apply(slow, undefined, arguments);
};
//# sourceURL=soswap:fast-call`;
  const scope = { unchecked, outcome: addon.outcome, ...builtIn };
  return new Function(...Object.keys(scope), text)(...Object.values(scope)) as Maker;
}
