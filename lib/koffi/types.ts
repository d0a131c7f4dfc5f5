import type { TypeObject } from 'koffi';
import type { WithErrno } from '../call/types.js';

/** A function of any type. */
export type AnyCallable = (...values: never[]) => unknown;

/** A type of koffi: its name, or what koffi.struct(), koffi.pointer() and others return. */
export type KoffiType = string | TypeObject;

/** The prototype of one function. */
export type KoffiPrototype = KoffiType | KoffiDefinition;

/** The prototype of one function with options. */
export interface KoffiDefinition {
  /** The prototype in C, or what koffi.proto() returns. */
  readonly prototype: KoffiType;
  /** The symbol of the function. Defaults to the name in a prototype that is a string, otherwise to the key. */
  readonly symbol?: string | undefined;
  /** A symbol that the library may lack: the function is then `null`. Defaults to `false`. */
  readonly optional?: boolean | undefined;
  /** A call that returns `{ value, errno }`, as with bound functions; `async` resolves with it. Defaults to `false`. */
  readonly errno?: boolean | undefined;
}

/** Prototypes, by the names that the functions get. */
export type KoffiPrototypes = Readonly<Record<string, KoffiPrototype>>;

/** A function of the type F that follows swaps. */
export type KoffiFunction<F extends AnyCallable> = F & KoffiAsync<F>;

/** What a function that follows swaps has beside its call. A variadic function has it not, as in koffi. */
export interface KoffiAsync<F extends AnyCallable> {
  /**
   * The call on a thread of koffi. With a callback as the last argument it is called as koffi calls it, with an error or
   * `null`, and the value; without one, the call returns a promise.
   */
  readonly async: {
    (...values: Parameters<F>): Promise<ReturnType<F>>;
    (...values: [...Parameters<F>, (error: unknown, value: ReturnType<F>) => void]): void;
  };
}

/** Functions of given types. */
export type KoffiFunctionsOf<Types extends Readonly<Record<keyof Types, AnyCallable | null>>> = {
  readonly [Name in keyof Types]: Types[Name] extends AnyCallable
    ? KoffiFunction<Types[Name]>
    : KoffiFunction<NonNullable<Types[Name]>> | null;
};

/** Functions whose types are read from their prototypes, as far as those are strings: what is a structure is `unknown`. */
export type KoffiFunctions<P extends KoffiPrototypes> = {
  readonly [Name in keyof P]: FunctionOf<P[Name]>;
};

type FunctionOf<P extends KoffiPrototype> = P extends KoffiDefinition
  ?
      | CallOf<P['prototype'], P extends { readonly errno: true } ? true : false>
      | (P extends { readonly optional: true } ? null : never)
  : CallOf<P, false>;

type CallOf<P, Errno extends boolean> = P extends `${infer Before}(${infer List})${string}`
  ? List extends `${infer Fixed}...`
    ? (...values: [...ArgumentsOf<Fixed>, ...unknown[]]) => Reported<ResultOf<Before>, Errno>
    : KoffiFunction<(...values: ArgumentsOf<List>) => Reported<ResultOf<Before>, Errno>>
  : KoffiFunction<(...values: unknown[]) => Reported<unknown, Errno>>;

type Reported<Result, Errno extends boolean> = Errno extends true ? WithErrno<Result> : Result;

type ArgumentsOf<List extends string> =
  Trim<List> extends '' | 'void'
    ? []
    : List extends `${infer First},${infer Rest}`
      ? [ArgumentOf<First>, ...ArgumentsOf<Rest>]
      : [ArgumentOf<List>];

type ArgumentOf<Text extends string> = Text extends `${string}*${string}`
  ? Plain<Text> extends `char ${string}` | `char*${string}`
    ? Text extends `${string}*${string}*${string}` | `_${string}`
      ? unknown
      : string | ArrayBufferView | ArrayBuffer | bigint | null | undefined
    : unknown
  : ScalarOf<Plain<Text>>;

/** The type of a value that koffi returns for a type, or for the beginning of a prototype. */
export type ResultOf<Text extends string> = Text extends `${string}*${string}`
  ? Plain<Text> extends `char ${string}` | `char*${string}`
    ? Text extends `${string}*${string}*${string}`
      ? unknown
      : string | null
    : unknown
  : ScalarOf<Plain<Text>>;

type ScalarOf<Text extends string> = [Matches<Text>] extends [never] ? unknown : Matches<Text>;

type Matches<Text extends string> = {
  [Name in keyof Scalars]: Text extends Name | `${Name} ${string}` ? Scalars[Name] : never;
}[keyof Scalars];

type Plain<Text extends string> =
  Trim<Text> extends `const ${infer Rest}` ? Plain<Rest> : Trim<Text>;

type Trim<Text extends string> = Text extends ` ${infer Rest}` | `${infer Rest} `
  ? Trim<Rest>
  : Text;

type Named<Name extends string, Value> = Readonly<Record<Name, Value>>;

interface Scalars
  extends Named<'void', undefined>,
    Named<'bool', boolean>,
    Named<'str' | 'string', string | null>,
    Named<'float' | 'double' | 'float32' | 'float64', number>,
    Named<'char' | 'signed char' | 'unsigned char' | 'uchar' | 'short' | 'unsigned short', number>,
    Named<'ushort' | 'int' | 'signed int' | 'unsigned int' | 'uint' | 'unsigned', number>,
    Named<`${'' | 'u'}int${8 | 16 | 32}${'' | '_t'}`, number>,
    Named<'long' | 'unsigned long' | 'ulong' | 'long long' | 'unsigned long long', number | bigint>,
    Named<'longlong' | 'ulonglong' | 'size_t' | 'ssize_t', number | bigint>,
    Named<`${'' | 'u'}int${64 | 'ptr'}${'' | '_t'}`, number | bigint> {}
