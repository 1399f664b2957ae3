/** The kernels behind a sampler's vectors, dense f32 on the GPU; `pipelines/gpu/gpuSpace.ts` runs them. */
import { defineKernel, linearGrid } from '../engine/index.ts';
import { ceilDiv } from './common.ts';
import matchStdShader from './vecMatchStd.wgsl';
import normRatioShader from './vecNormRatio.wgsl';
import programShader from './vecProgram.wgsl';
import projectShader from './vecProject.wgsl';
import quantileShader from './vecQuantile.wgsl';
import statsShader from './vecStats.wgsl';

/** Instructions of vecProgram by number: what stands there is what each does. */
export const VEC_OPS = {
  load: 0,
  loadPerItem: 1,
  push: 2,
  set: 3,
  add: 4,
  clamp: 5,
  mulExp: 6,
  mulSqrt: 7,
  mask: 8,
  /** By a vector, or by one number per item. */
  mul: 9,
  scale: 9,
  threshold: 10,
  errorSum: 11,
  errorMax: 12,
} as const;
/** What one dispatch of vecProgram holds: input buffers, values, and instructions. */
export const VEC_LIMITS = {
  buffers: programShader.bindings.filter(({ access }) => access === 'read').length,
  slots: parseInt(programShader.consts.SLOTS),
  tape: parseInt(programShader.consts.TAPE),
};

const WG = [64, 128, 256];

/** A straight-line program of {@link VEC_OPS} over up to seven buffers, one vec4 per invocation. */
export const vecProgramKernel = defineKernel({
  shader: programShader,
  tunables: { WG },
  grid: ({ n4 }, t) => linearGrid(ceilDiv(n4, t.WG)),
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

/** The ratio of mean norms, once per item, from the parts of both. */
export const vecNormRatioKernel = defineKernel({
  shader: normRatioShader,
  tunables: { WG: [64, 32, 128] },
  grid: () => [1, 1, 1],
});

/** The part of every box of every item along one direction. */
export const vecProjectKernel = defineKernel({
  shader: projectShader,
  tunables: { WG },
  grid: ({ batch, channels, height, width, boxC, boxH, boxW }, t) =>
    linearGrid(ceilDiv((batch * channels * height * width) / (boxC * boxH * boxW), t.WG)),
});
