import koffi, { type TypeObject } from 'koffi';
import type { SoHandle } from '../handle/so-handle.js';
import { argumentTypeError, argumentValueError, SoError } from '../internal/errors.js';
import { throwLater } from '../internal/events.js';
import { blocking } from './counted-call.js';
import { checkHandle } from './handle.js';
import { isType } from './prototypes.js';
import type { AnyCallable, KoffiType } from './types.js';

type Callback = (...values: unknown[]) => unknown;

interface Registration {
  /** How often it is being called now. */
  running: number;
  ended: boolean;
}

const registrationsOf = new WeakMap<SoHandle, Map<bigint, Registration>>();

/**
 * Registers a callback that belongs to a handle: it is unregistered when the handle is closed. If it throws within a
 * blocking call of {@link koffiFunctions}, that call throws the error when the C function has returned; otherwise the
 * handle emits `error`, which without a listener is an uncaught exception. The C code gets 0 or NULL in place of a result.
 *
 * @param handle The handle.
 * @param callback The function.
 * @param type A pointer to a prototype, as koffi.register() takes it, or the prototype.
 * @returns The address, for {@link koffiFunctions} and for bound functions. A swap does not change it, but a library
 * that stored it loses it with its static data.
 * @throws {SoError} `ERR_SOSWAP_CLOSED`.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`. And what koffi.register() throws: 8,192 callbacks
 * are registered, say.
 *
 * @example
 * const Visit = koffi.proto('int (double x, double y)');
 * const visit = registered(price, (x: number, y: number) => x + y, Visit);
 * console.log(koffi.call(visit, Visit, 1, 2)); // 3
 */
export function registered(handle: SoHandle, callback: AnyCallable, type: KoffiType): bigint {
  checkHandle(handle);
  if (typeof callback !== 'function') throw argumentTypeError('callback', 'a function', callback);
  const pointer = pointerTo(type);
  if (handle.closed) {
    const message = `cannot register a callback: the handle of '${handle.path}' is closed`;
    throw new SoError('ERR_SOSWAP_CLOSED', message, handle.path);
  }
  const registration: Registration = { running: 0, ended: false };
  const owner = new WeakRef(handle); // koffi keeps the function
  const emit = (error: unknown) => throwLater(() => owner.deref()?.emit('error', error));
  const guarded = guard(callback as Callback, resultOf(pointer), (error) => {
    if (blocking.calls > 0) throw error;
    emit(error);
  });
  const counted: Callback = (...values) => {
    registration.running++;
    try {
      return guarded(...values);
    } finally {
      registration.running--;
      // koffi is in it still.
      if (registration.ended) setImmediate(koffi.unregister, address);
    }
  };
  const address = koffi.register(counted, pointer);
  registrations(handle).set(address, registration);
  return address;
}

/**
 * Unregisters a callback before its handle is closed.
 *
 * @param handle The handle that it was registered for.
 * @param address What {@link registered} returned.
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`: it is not registered for this handle.
 *
 * @example
 * const visit = registered(price, () => 0, koffi.proto('int (double x)'));
 * unregister(price, visit);
 */
export function unregister(handle: SoHandle, address: bigint): void {
  checkHandle(handle);
  const all = registrationsOf.get(handle);
  const registration = all?.get(address);
  if (registration === undefined) {
    throw argumentValueError('address', 'is no registered callback of this handle', address);
  }
  all?.delete(address);
  end(registration, address);
}

function registrations(handle: SoHandle): Map<bigint, Registration> {
  const known = registrationsOf.get(handle);
  if (known !== undefined) return known;
  const all = new Map<bigint, Registration>();
  registrationsOf.set(handle, all);
  handle.once('close', () => {
    for (const [address, registration] of all) end(registration, address);
    all.clear();
  });
  return all;
}

function end(registration: Registration, address: bigint): void {
  registration.ended = true;
  if (registration.running === 0) koffi.unregister(address);
}

/** Returns a function that calls `callback`, and does not throw unless `caught` does. */
export function guard(
  callback: Callback,
  result: TypeObject | undefined,
  caught: (error: unknown) => void,
): Callback {
  return (...values) => {
    try {
      return callback(...values);
    } catch (error) {
      caught(error);
      return zeroOf(result);
    }
  };
}

/** The type that a callback returns; `undefined` if `type` is none of a callback. */
export function resultOf(type: TypeObject): TypeObject | undefined {
  return (type.proto ?? type.ref?.proto)?.result;
}

function zeroOf(type: TypeObject | undefined): unknown {
  if (type === undefined || type.primitive === 'Void') return undefined;
  return koffi.decode(Buffer.alloc(type.size), type);
}

function pointerTo(type: unknown): TypeObject {
  if (typeof type !== 'string' && !isType(type)) {
    throw argumentTypeError('type', 'a type of koffi', type);
  }
  const resolved = koffi.type(type);
  return resolved.primitive === 'Prototype' ? koffi.pointer(resolved) : resolved;
}
