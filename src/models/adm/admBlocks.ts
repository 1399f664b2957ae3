/** The blocks of OpenAI's U-Nets under their original names: `input_blocks.4.0.in_layers.2.weight`. */
import type { Tensor } from '../../engine/index.ts';
import { attention, linear, reshape, slice, type Activation } from '../../kernels/index.ts';
import { resample, downsampleConv, upsampleConv } from '../blocks/resample.ts';
import { resnetBlock } from '../blocks/resnetBlock.ts';
import { norm } from '../layers.ts';
import { WeightScope } from '../weightScope.ts';
import { ADM_EPS, ADM_GROUPS, type AdmEncoderConfig } from './admConfig.ts';

/** A scope whose submodules answer to other names: shared blocks ask by diffusers' names. */
class RenamedScope extends WeightScope {
  constructor(
    scope: WeightScope,
    private readonly names: Readonly<Record<string, string>>,
  ) {
    super(scope.path, scope.wanted as Map<string, readonly number[]>);
  }

  override at(first: string | number, ...rest: readonly (string | number)[]): WeightScope {
    return super.at(this.names[first] ?? first, ...rest);
  }
}

/** The parts of a `ResBlock`, which is a Sequential within a Sequential, by the names of diffusers. */
const RES_NAMES = {
  norm1: 'in_layers.0',
  conv1: 'in_layers.2',
  time_emb_proj: 'emb_layers.1',
  norm2: 'out_layers.0',
  conv2: 'out_layers.3',
  conv_shortcut: 'skip_connection',
};

/** `ResBlock`: x [B,H,W,C] → [B,H',W',out]; emb [B,D] with its activation applied. */
export function admResBlock(
  w: WeightScope,
  x: Tensor,
  emb: Tensor,
  config: AdmEncoderConfig,
  { out, resample }: { out: number; resample?: 'up' | 'down' },
): Tensor {
  return resnetBlock(new RenamedScope(w, RES_NAMES), x, emb, {
    out,
    groups: ADM_GROUPS,
    eps: ADM_EPS,
    act: 'silu',
    timeNorm: config.useScaleShiftNorm ? 'scale_shift' : 'default',
    resample,
  });
}

/** The end of a level on the way down. x [B,H,W,C] → [B,H/2,W/2,C]. */
export function admDownsample(w: WeightScope, x: Tensor, emb: Tensor, config: AdmEncoderConfig): Tensor {
  if (config.resblockUpdown) return admResBlock(w, x, emb, config, { out: x.shape[3], resample: 'down' });
  if (config.convResample) return downsampleConv(new RenamedScope(w, { conv: 'op' }), x, 1);
  return x.graph.scope(w.path, () => resample(x, 'down'));
}

/** The end of a level on the way up. x [B,H,W,C] → [B,2H,2W,C]. */
export function admUpsample(w: WeightScope, x: Tensor, emb: Tensor, config: AdmEncoderConfig): Tensor {
  if (config.resblockUpdown) return admResBlock(w, x, emb, config, { out: x.shape[3], resample: 'up' });
  if (config.convResample) return upsampleConv(w, x);
  return x.graph.scope(w.path, () => resample(x, 'up'));
}

/** `AttentionBlock`: x [B,H,W,C] → [B,H,W,C]. */
export function admAttention(w: WeightScope, x: Tensor, config: AdmEncoderConfig, heads: number): Tensor {
  const [B, H, W, C] = x.shape;
  const { attentionDims: dims, attentionOrder: order } = config;
  const tokens = reshape(x, [B, H * W, C]); // [B,T,C]
  const n = norm(w.at('norm'), tokens, { groups: ADM_GROUPS, eps: ADM_EPS }); // [B,T,C]
  const a = x.graph.scope(w.path, () => {
    const { q, k, v } = splitQkv(pointwise(w.at('qkv'), n, 3 * C, dims), heads, order); // [B,T,C] each
    return attention(q, k, v, { heads }); // [B,T,C]
  });
  return reshape(pointwise(w.at('proj_out'), a, C, dims, { residual: tokens }), [B, H, W, C]); // [B,H,W,C]
}

/** `nn.Conv1d` or `nn.Conv2d` with a kernel of 1: x [...,C] → [...,out]. */
export function pointwise(
  w: WeightScope,
  x: Tensor,
  out: number,
  dims: 1 | 2,
  options: { act?: Activation; residual?: Tensor } = {},
): Tensor {
  const weight = w.param('weight', [out, x.shape.at(-1)!, ...Array<number>(dims).fill(1)]);
  const bias = w.param('bias', [out]);
  return x.graph.scope(w.path, () => linear(x, weight, bias, options));
}

/** qkv [B,T,3C] → three of [B,T,C], the heads of each side by side. */
export function splitQkv(
  qkv: Tensor,
  heads: number,
  order: AdmEncoderConfig['attentionOrder'],
): { q: Tensor; k: Tensor; v: Tensor } {
  const [B, T, width] = qkv.shape;
  const C = width / 3;
  const d = C / heads;
  const part = (i: number): Tensor => {
    if (order === 'qkv-first') return slice(qkv, i * C, (i + 1) * C); // [B,T,C]
    const apart = reshape(qkv, [B, T, heads, 3 * d]); // [B,T,heads,3d]
    return reshape(slice(apart, i * d, (i + 1) * d), [B, T, C]); // [B,T,C]
  };
  return { q: part(0), k: part(1), v: part(2) };
}
