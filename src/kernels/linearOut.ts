/** What kernels are told of what becomes of their sums on the way out (`modules/linearOut.wgsl`). */
import { ACTIVATIONS } from './common.ts';

/** Their tunables. */
export const LINEAR_OUT = {
  ACT: Object.values(ACTIVATIONS),
  HAS_BIAS: [true, false],
  HAS_RESIDUAL: [false, true],
  IN_PLACE: [false, true],
  HAS_GATE: [false, true],
  GATED: [false, true],
};
