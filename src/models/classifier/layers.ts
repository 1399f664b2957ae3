/**
 * Layers with a way back. Nothing here differentiates by itself: each layer knows by hand what gradient by its input
 * follows from one by its result, and records that in the graph of the forward, whose activations are kept for it.
 */
import type { Tensor } from '../../engine/index.ts';
import { activationGrad } from '../../kernels/activationGrad.ts';
import { attentionGrad } from '../../kernels/attentionGrad.ts';
import { convInputGrad } from '../../kernels/conv2dTranspose.ts';
import { groupNormGrad } from '../../kernels/groupNormGrad.ts';
import { add, attention, avgPool2, concat, reshape, scaleShift, slice, unary } from '../../kernels/index.ts';
import { linearInputGrad } from '../../kernels/linearGrad.ts';
import { avgPool2Grad } from '../../kernels/resampleGrad.ts';
import { pointwise, splitQkv } from '../adm/admBlocks.ts';
import { ADM_EPS, ADM_GROUPS, type AdmEncoderConfig } from '../adm/admConfig.ts';
import { conv, dense, norm } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

/** A result, and what a gradient by it means for the input. */
export interface Layer {
  out: Tensor;
  /** Gradient by `out` → gradient by the input, each of its tensor's shape. */
  back(g: Tensor): Tensor;
}

/** What follows what. */
function chain(...layers: Layer[]): Layer {
  return { out: layers.at(-1)!.out, back: (g) => layers.reduceRight((at, layer) => layer.back(at), g) };
}

/** A 3×3 convolution, or one of another size: x [B,H,W,C] → [B,H',W',out]. */
export function convLayer(
  w: WeightScope,
  x: Tensor,
  out: number,
  {
    kernel = 3,
    stride = 1,
    shift,
    residual,
  }: { kernel?: number; stride?: number; shift?: Tensor; residual?: Tensor } = {},
): Layer {
  const [, height, width, C] = x.shape;
  const padding = (kernel - 1) / 2;
  const weight = w.param('weight', [out, C, kernel, kernel]);
  return {
    out: conv(w, x, out, { kernel, stride, padding, shift, residual }),
    back: (g) => backwards(w, x, () => convInputGrad(g, weight, { height, width, stride, padding })),
  };
}

/** silu(norm(x)), or silu(norm(x)·(1 + scale) + shift) with both [B,C]: the shape of x. */
export function normSilu(w: WeightScope, x: Tensor, film?: { scale: Tensor; shift: Tensor }): Layer {
  const weight = w.param('weight', [x.shape.at(-1)!]);
  const options = { groups: ADM_GROUPS, eps: ADM_EPS };
  const normed = norm(w, x, options);
  const inner = film ? x.graph.scope(w.path, () => scaleShift(normed, film.scale, film.shift)) : normed;
  return {
    out: x.graph.scope(w.path, () => unary(inner, { act: 'silu' })),
    back: (g) =>
      backwards(w, x, () =>
        groupNormGrad(activationGrad(g, inner, { act: 'silu', scale: film?.scale }), x, weight, options),
      ),
  };
}

/** Means of 2×2: x [B,H,W,C] → [B,⌊H/2⌋,⌊W/2⌋,C]. */
function halve(x: Tensor): Layer {
  const [, height, width] = x.shape;
  return { out: avgPool2(x), back: (g) => avgPool2Grad(g, { height, width }) };
}

/** `ResBlock`: x [B,H,W,C] → [B,H',W',out]; emb [B,D] with its activation applied. */
export function resBlock(
  w: WeightScope,
  x: Tensor,
  emb: Tensor,
  config: AdmEncoderConfig,
  { out, down = false }: { out: number; down?: boolean },
): Layer {
  const filmed = config.useScaleShiftNorm;
  const t = dense(w.at('emb_layers', 1), emb, filmed ? 2 * out : out); // [B,out] or [B,2·out]
  const film = filmed ? { scale: slice(t, 0, out), shift: slice(t, out, 2 * out) } : undefined;
  const pooled = (y: Tensor): Layer[] => (down ? [x.graph.scope(w.path, () => halve(y))] : []);

  const first = normSilu(w.at('in_layers', 0), x); // [B,H,W,C]
  const small = chain(first, ...pooled(first.out)); // [B,H',W',C]
  const middle = convLayer(w.at('in_layers', 2), small.out, out, { shift: filmed ? undefined : t }); // [B,H',W',out]
  const second = normSilu(w.at('out_layers', 0), middle.out, film); // [B,H',W',out]

  const short: Layer[] = pooled(x);
  const through = short.at(-1)?.out ?? x; // [B,H',W',C]
  if (x.shape[3] !== out) short.push(convLayer(w.at('skip_connection'), through, out, { kernel: 1 })); // [B,H',W',out]
  const residual = short.at(-1)?.out ?? x; // [B,H',W',out]
  const last = convLayer(w.at('out_layers', 3), second.out, out, { residual }); // [B,H',W',out]
  const main = chain(small, middle, second, last);
  return { out: last.out, back: (g) => add(main.back(g), short.length > 0 ? chain(...short).back(g) : g) };
}

/** The end of a level: x [B,H,W,C] → half of it. */
export function downsample(w: WeightScope, x: Tensor, emb: Tensor, config: AdmEncoderConfig): Layer {
  const C = x.shape[3];
  if (config.resblockUpdown) return resBlock(w, x, emb, config, { out: C, down: true });
  return config.convResample ? convLayer(w.at('op'), x, C, { stride: 2 }) : x.graph.scope(w.path, () => halve(x));
}

/** `AttentionBlock`: x [B,H,W,C] → [B,H,W,C]. */
export function attentionLayer(w: WeightScope, x: Tensor, config: AdmEncoderConfig, heads: number): Layer {
  const [B, H, W, C] = x.shape;
  const { attentionDims: dims, attentionOrder: order } = config;
  const options = { groups: ADM_GROUPS, eps: ADM_EPS };
  const ones = Array<number>(dims).fill(1);
  const weights = {
    norm: w.at('norm').param('weight', [C]),
    qkv: w.at('qkv').param('weight', [3 * C, C, ...ones]),
    proj: w.at('proj_out').param('weight', [C, C, ...ones]),
  };
  const tokens = reshape(x, [B, H * W, C]); // [B,T,C]
  const n = norm(w.at('norm'), tokens, options); // [B,T,C]
  const { q, k, v } = x.graph.scope(w.path, () => splitQkv(pointwise(w.at('qkv'), n, 3 * C, dims), heads, order));
  const a = x.graph.scope(w.path, () => attention(q, k, v, { heads })); // [B,T,C]
  const y = pointwise(w.at('proj_out'), a, C, dims, { residual: tokens }); // [B,T,C]
  return {
    out: reshape(y, [B, H, W, C]), // [B,H,W,C]
    back: (g) =>
      backwards(w, x, () => {
        const flat = reshape(g, [B, H * W, C]); // [B,T,C]
        const parts = attentionGrad(linearInputGrad(flat, weights.proj), q, k, v, { heads }); // [B,T,C] each
        const gn = linearInputGrad(joinQkv(parts, heads, order), weights.qkv); // [B,T,C]
        return reshape(add(groupNormGrad(gn, tokens, weights.norm, options), flat), [B, H, W, C]); // [B,H,W,C]
      }),
  };
}

/** The opposite of splitQkv: three of [B,T,C] → [B,T,3C]. */
export function joinQkv(
  { q, k, v }: { q: Tensor; k: Tensor; v: Tensor },
  heads: number,
  order: AdmEncoderConfig['attentionOrder'],
): Tensor {
  const [B, T, C] = q.shape;
  if (order === 'qkv-first') return concat(concat(q, k), v); // [B,T,3C]
  const [qa, ka, va] = [q, k, v].map((t) => reshape(t, [B, T, heads, C / heads])); // [B,T,heads,d]
  return reshape(concat(concat(qa, ka), va), [B, T, 3 * C]); // [B,T,3C]
}

/** Labels what a way back records. */
export function backwards<T>(w: WeightScope, x: Tensor, record: () => T): T {
  return x.graph.scope(`${w.path}.grad`, record);
}
