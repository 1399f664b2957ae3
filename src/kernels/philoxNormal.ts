/** Standard normals by number, on the GPU; `pipelines/gpu/gpuNoise.ts` runs it, and only who wants it imports it. */
import { defineKernel, linearGrid } from '../engine/index.ts';
import { ceilDiv } from './common.ts';
import shader from './philoxNormal.wgsl';

/** Four elements of an item per invocation. */
export const philoxNormalKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ batch, item }, t) => linearGrid(ceilDiv(batch * ceilDiv(item, 4), t.WG)),
});
