/** The kernels behind a sampler's vectors, dense f32 on the GPU; `pipelines/gpuSpace.ts` runs them. */
import { defineKernel, linearGrid } from '../engine/index.ts';
import { ceilDiv } from './common.ts';
import copyShader from './vecCopy.wgsl';
import itemsShader from './vecItems.wgsl';
import linearShader from './vecLinear.wgsl';
import matchStdShader from './vecMatchStd.wgsl';
import quantileShader from './vecQuantile.wgsl';
import statsShader from './vecStats.wgsl';

/** f of vecLinear, by number. */
export const VEC_OPS = { linear: 0, clamp: 1, mulExp: 2, mulSqrt: 3, mask: 4 } as const;
/** f of vecItems, by number. */
export const ITEM_OPS = { scale: 0, threshold: 1 } as const;

const WG = [64, 128, 256];

/** f(Σ cᵢ·tᵢ + bias) over up to six vectors, one vec4 per invocation; f by {@link VEC_OPS}. */
export const vecLinearKernel = defineKernel({
  shader: linearShader,
  tunables: { WG },
  grid: ({ n4 }, t) => linearGrid(ceilDiv(n4, t.WG)),
});

/** Items that stand anywhere, made dense, one element per invocation. */
export const vecCopyKernel = defineKernel({
  shader: copyShader,
  tunables: { WG },
  grid: ({ n }, t) => linearGrid(ceilDiv(n, t.WG)),
});

/** Count, mean and Σ(x − mean)² of parts of every item. */
export const vecStatsKernel = defineKernel({
  shader: statsShader,
  tunables: { WG },
  grid: ({ batch, parts }, t) => linearGrid(ceilDiv(batch * parts, t.WG)),
});

/** The factor per item that draws its standard deviation to another's. Lin et al. 2023, equations 15 and 16. */
export const vecMatchStdKernel = defineKernel({
  shader: matchStdShader,
  tunables: { WG },
  grid: ({ batch }, t) => [ceilDiv(batch, t.WG), 1, 1],
});

/** A quantile of |x| per item by radix select, one workgroup per item. */
export const vecQuantileKernel = defineKernel({
  shader: quantileShader,
  tunables: { WG: [256, 64, 128] },
  grid: ({ batch }) => [batch, 1, 1],
});

/** What one number per item does to a vector, one vec4 per invocation; by {@link ITEM_OPS}. */
export const vecItemsKernel = defineKernel({
  shader: itemsShader,
  tunables: { WG },
  grid: ({ n4 }, t) => linearGrid(ceilDiv(n4, t.WG)),
});
