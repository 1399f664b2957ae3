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

/** Those of kernels that normalise the rows they bring in (`modules/rowNormals.wgsl`). */
export const LINEAR_NORM = { HAS_AFFINE: [true, false], HAS_VECTORS: [false, true], RAGGED: [true, false] };
