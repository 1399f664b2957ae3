/**
 * How a classifier comes from maps to logits, each with its way back. Dhariwal & Nichol 2021, section 4.4 and appendix.
 */
import { InvalidArgumentError, type Packing, type Tensor, type Weight } from '../../engine/index.ts';
import { activationGrad } from '../../kernels/activationGrad.ts';
import { addShared } from '../../kernels/addShared.ts';
import { attentionGrad } from '../../kernels/attentionGrad.ts';
import { groupNormGrad } from '../../kernels/groupNormGrad.ts';
import { add, attention, concat, reshape, slice, unary } from '../../kernels/index.ts';
import { linearInputGrad } from '../../kernels/linearGrad.ts';
import { pixelMean, pixelMeanGrad } from '../../kernels/resampleGrad.ts';
import { pointwise, splitQkv } from '../adm/admBlocks.ts';
import { ADM_EPS, ADM_GROUPS, headsOf, type ClassifierConfig } from '../adm/admConfig.ts';
import { dense, norm } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import { backwards, joinQkv, normSilu, type Layer } from './layers.ts';

/** Channels between the two linear layers of the spatial pools. */
const WIDTH = 2048;

/** norm, SiLU, mean over the pixels, 1×1 convolution: x [B,H,W,C] → [B,N]. */
export function adaptivePool(w: WeightScope, x: Tensor, classes: number): Layer {
  const [, height, width, C] = x.shape;
  const first = normSilu(w.at(0), x); // [B,H,W,C]
  const weight = w.at(3).param('weight', [classes, C, 1, 1]);
  return {
    out: pointwise(w.at(3), pixelMean(first.out), classes, 2), // [B,N]
    back: (g) => first.back(backwards(w, x, () => pixelMeanGrad(linearInputGrad(g, weight), { height, width }))),
  };
}

/**
 * norm, SiLU, `AttentionPool2d`: x [B,H,W,C] → [B,N].
 * @throws InvalidArgumentError for pictures of another size than image_size.
 */
export function attentionPool(w: WeightScope, x: Tensor, config: ClassifierConfig, side: number): Layer {
  const [, H, W, C] = x.shape;
  if (H * W !== side ** 2) {
    throw new InvalidArgumentError(
      `attentionPool: expected a map of ${side ** 2} pixels for image_size ${config.imageSize}, got ${H}×${W}; ` +
        'pass pictures of that size',
    );
  }
  const first = normSilu(w.at(0), x); // [B,H,W,C]
  const pooled = readByAttention(w.at(2), first.out, headsOf(config, C, 1), config.outChannels); // [B,N]
  return { out: pooled.out, back: (g) => first.back(pooled.back(g)) };
}

/**
 * One query, the mean of the pixels, attends to all pixels and to itself. After Radford et al. 2021 (CLIP). x
 * [B,H,W,C] → [B,N].
 */
function readByAttention(w: WeightScope, x: Tensor, heads: number, classes: number): Layer {
  const [B, H, W, C] = x.shape;
  const T = H * W + 1;
  const positions: Weight = w.param('positional_embedding', [C, T]);
  const weights = {
    qkv: w.at('qkv_proj').param('weight', [3 * C, C, 1]),
    proj: w.at('c_proj').param('weight', [classes, C, 1]),
  };
  const all = concat(pixelMean(x), reshape(x, [B, H * W * C])); // [B,T·C]
  const tokens = addShared(reshape(all, [B, T, C]), x.graph.constant(positions, packTransposed, 'f32')); // [B,T,C]
  const { q, k, v } = splitQkv(pointwise(w.at('qkv_proj'), tokens, 3 * C, 1), heads, 'qkv-first'); // [B,T,C] each
  const asking = reshape(slice(reshape(q, [B, T * C]), 0, C), [B, 1, C]); // [B,1,C]
  const a = x.graph.scope(w.path, () => attention(asking, k, v, { heads })); // [B,1,C]
  return {
    out: reshape(pointwise(w.at('c_proj'), a, classes, 1), [B, classes]), // [B,N]
    back: (g) =>
      backwards(w, x, () => {
        const ga = linearInputGrad(reshape(g, [B, 1, classes]), weights.proj); // [B,1,C]
        const parts = attentionGrad(ga, asking, k, v, { heads }); // q [B,1,C], k and v [B,T,C]
        const none = unary(slice(reshape(parts.k, [B, T * C]), C, T * C), { alpha: 0 }); // [B,(T−1)·C]
        const gq = reshape(concat(reshape(parts.q, [B, C]), none), [B, T, C]); // [B,T,C]
        const joined = joinQkv({ ...parts, q: gq }, heads, 'qkv-first'); // [B,T,3C]
        const flat = reshape(linearInputGrad(joined, weights.qkv), [B, T * C]); // [B,T·C]
        const ofPixels = reshape(slice(flat, C, T * C), [B, H, W, C]); // [B,H,W,C]
        return add(ofPixels, slice(flat, 0, C), { beta: 1 / (H * W) }); // [B,H,W,C]
      }),
  };
}

/** Means of every block's map, two linear layers: [B,H,W,C] each → [B,N]; the way back goes to the means. */
export function spatialPool(
  w: WeightScope,
  maps: readonly Tensor[],
  { pool, outChannels }: ClassifierConfig,
): { out: Tensor; back(g: Tensor): Tensor[] } {
  const features = maps.map(pixelMean).reduce((all, mean) => concat(all, mean)); // [B,F]
  const F = features.shape[1];
  const second = pool === 'spatial_v2';
  const weights = {
    first: w.at(0).param('weight', [WIDTH, F]),
    last: w.at(second ? 3 : 2).param('weight', [outChannels, WIDTH]),
  };
  const hidden = dense(w.at(0), features, WIDTH); // [B,2048]
  const inner = second ? norm(w.at(1), hidden, { groups: ADM_GROUPS, eps: ADM_EPS }) : hidden; // [B,2048]
  const act = second ? 'silu' : 'relu';
  return {
    out: dense(w.at(second ? 3 : 2), unary(inner, { act }), outChannels), // [B,N]
    back: (g) =>
      backwards(w, features, () => {
        let h = activationGrad(linearInputGrad(g, weights.last), inner, { act }); // [B,2048]
        if (second) {
          const weight = w.at(1).param('weight', [WIDTH]);
          h = groupNormGrad(h, hidden, weight, { groups: ADM_GROUPS, eps: ADM_EPS }); // [B,2048]
        }
        const all = linearInputGrad(h, weights.first); // [B,F]
        let at = 0;
        return maps.map(({ shape }) => slice(all, at, (at += shape[3]))); // [B,C] each
      }),
  };
}

/** [C, T] → [T, C/4·4]: a table of positions, whose checkpoint has channels first. */
const packTransposed: Packing = {
  id: 'transposed',
  shape: ([C, T]) => [T, 4 * Math.ceil(C / 4)],
  blocks: ([, T]) => T,
  pack(data, [C, T], first, last, out) {
    const stride = 4 * Math.ceil(C / 4);
    for (let t = first; t < last; t++) for (let c = 0; c < C; c++) out[(t - first) * stride + c] = data[c * T + t];
  },
};
