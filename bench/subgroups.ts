/** Doing without subgroups, which is a way of computing by itself. */
import type { Capabilities, Dispatch } from '../src/engine/index.ts';

/** What a device is told to leave out. */
export const SUBGROUPS = ['subgroups' as GPUFeatureName];

/** What kernels may count on then. */
export const withoutSubgroups = (caps: Capabilities): Capabilities => {
  return { ...caps, subgroupSize: 0, matrices: undefined };
};

/** Dispatches of one signature do the same work by the same code. */
export const signatureOf = (dispatches: readonly Dispatch[]): string =>
  JSON.stringify(dispatches.map(({ kernel, tunables, params, grid }) => [kernel.name, tunables, params, grid]));
