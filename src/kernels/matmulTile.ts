/** Products tile by tile through workgroup memory; for GPUs. */
import { defineKernel, linearGrid, type Kernel } from '../engine/index.ts';
import { ceilDiv } from './common.ts';
import { LINEAR_NORM, LINEAR_OUT } from './linearOut.ts';
import shader from './matmulTile.wgsl';
import normShader from './matmulTileNorm.wgsl';
import { TILE, tileFits } from './tiles.ts';

const whole: Pick<Kernel, 'grid' | 'valid'> = {
  grid({ M, N4 }, t) {
    const [y, z] = linearGrid(ceilDiv(M, t.WG_M * t.ROWS));
    return [ceilDiv(t.GATED ? 2 * N4 : N4, t.WG_N * t.COLS), y, z];
  },
  valid: (t, caps) => tileFits(t, caps) && (!t.GATED || t.COLS === 2),
};

/** A linear layer. */
export const matmulTileKernel = defineKernel({
  shader,
  tunables: { ...TILE, EXACT: [false, true], ...LINEAR_OUT, HAS_SECOND: [false, true] },
  ...whole,
});

/** The same with a layer norm in front of it. */
export const matmulTileNormKernel = defineKernel({
  shader: normShader,
  tunables: { ...TILE, EXACT: [false, true], ...LINEAR_OUT, ...LINEAR_NORM },
  ...whole,
});
