import { callbackRelease, nodeRelease } from '../call/fast-call.js';
import { fastAddon } from '../native/fast-addon.js';

/** Whether V8 calls functions of libraries straight from compiled code. */
export interface FastCalls {
  /** `false`: every call goes through Node-API, which costs a few times as much and does the same. */
  readonly active: boolean;
  /** The reason why they are not active, for people; otherwise `null`. */
  readonly reason: string | null;
  /** Whether functions without `leaf` in their definition are called so: from Node.js 24 on. */
  readonly byDefault: boolean;
}

/** What soswap uses of the process that it runs in. Reading a property finds it out, on the thread that asks. */
export interface Features {
  /** See {@link Definition.leaf}. */
  readonly fastCalls: FastCalls;
}

/**
 * What soswap uses of the process that it runs in.
 *
 * @example
 * const { active, reason } = features.fastCalls;
 * if (!active) console.warn(`calls take longer here: ${reason}`);
 */
export const features: Features = Object.freeze({
  get fastCalls(): FastCalls {
    const { addon, reason } = fastAddon();
    const active = addon !== undefined;
    return { active, reason, byDefault: active && nodeRelease >= callbackRelease };
  },
});
