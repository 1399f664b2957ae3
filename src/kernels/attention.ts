/** Scaled dot-product attention, in two algorithms: one invocation per query, or one workgroup per few queries. */
import { defineKernel, formatShape, LimitError, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import blockShader from './attentionBlock.wgsl';
import rowShader from './attentionRow.wgsl';
import { ceilDiv, expectRank, expectSame } from './common.ts';
import { reshape } from './copyRows.ts';

/** Widest head, in vec4, that the row algorithm keeps in registers. */
const ROW_D4 = 32;
/** Widest head, in vec4: one column per invocation of the largest workgroup that every adapter has. */
const MAX_D4 = 256;

export const attentionRowKernel = defineKernel({
  shader: rowShader,
  tunables: {
    WG: [64, 32, 128],
    ROWS: [1, 2, 4],
    D4: Array.from({ length: ROW_D4 }, (_, i) => i + 1),
    HAS_MASK: [false, true],
  },
  grid: ({ T, heads, B }, t) => [ceilDiv(T, t.WG * t.ROWS), heads, B],
});

export const attentionBlockKernel = defineKernel({
  shader: blockShader,
  tunables: { WG: [64, 32, 128, 256], ROW4: [1, 2, 4], HAS_MASK: [false, true] },
  grid: ({ T, heads, B }, t) => [ceilDiv(T, 4 * t.ROW4), heads, B],
  valid: (t, { limits }) =>
    t.WG <= limits.maxComputeInvocationsPerWorkgroup && 16 * t.WG * t.ROW4 <= limits.maxComputeWorkgroupStorageSize,
});

export interface AttentionAttrs {
  heads: number;
  scale: number;
  /** Forces one of the algorithms; default: by shape and adapter. */
  algorithm?: 'row' | 'block';
}

/** q, k, v and the result are [B, T|S, heads, d]. */
export const attentionOp: Op<AttentionAttrs> = {
  name: 'attention',
  lower({ inputs: { q, k, v, mask }, attrs, output }, to) {
    const [B, T, heads, d] = q!.shape;
    const S = k!.shape[1];
    const D4 = ceilDiv(d, 4);
    const stride = mask && (mask.layout === 'dense' ? S : 4 * ceilDiv(S, 4));
    const maskRow = mask && mask.shape[1] > 1 ? stride! : 0;
    const maskBatch = mask && mask.shape[0] > 1 ? stride! * mask.shape[1] : 0;
    const shared = { B, T, S, heads, scale: attrs.scale, maskRow, maskBatch };
    const bindings = { q, k, v, mask, out: output };
    const HAS_MASK = mask !== undefined;
    const flops = 4 * B * heads * T * S * d;
    // Few queries cannot fill a GPU with an invocation each; a processor has no lanes to fill but pays for every barrier.
    const row = D4 <= ROW_D4 && (to.caps.software || T >= 64);
    if (attrs.algorithm ? attrs.algorithm === 'row' : row) {
      to.dispatch({ kernel: attentionRowKernel, tunables: { D4, HAS_MASK }, params: shared, bindings, flops });
    } else {
      const WG = [32, 64, 128, 256].find((wg) => wg >= D4)!;
      to.dispatch({
        kernel: attentionBlockKernel,
        tunables: { WG, HAS_MASK },
        params: { ...shared, D4 },
        bindings,
        flops,
      });
    }
  },
};

export interface AttentionOptions {
  heads: number;
  /** Of the scores; default 1/√d. */
  scale?: number;
  /** Added to the scores, f32 [B or 1, T or 1, S]; −∞ counts as −10³⁰, so a row masked throughout averages all keys. */
  mask?: Tensor;
  algorithm?: 'row' | 'block';
}

/**
 * softmax(scale·q kᵀ + mask)·v per head; q [B,T,heads·d], k, v [B,S,heads·d] → [B,T,heads·d], d from 1 to 1024.
 * Heads whose width is no multiple of four are copied apart first, so that each starts on a vec4.
 * @throws ShapeError when shapes, heads or mask do not fit; LimitError for a wider head.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  const { heads, mask, algorithm } = options;
  expectRank('attention', 'q', q, 3, '[B,T,heads·d]');
  const [B, T, width] = q.shape;
  expectRank('attention', 'k', k, 3, '[B,S,heads·d]');
  const S = k.shape[1];
  expectSame('attention', 'k', k, [B, S, width]);
  expectSame('attention', 'v', v, [B, S, width]);
  if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) {
    throw new ShapeError(`attention: expected heads to divide the width ${width}, got ${heads} (q ${formatShape(q.shape)})`);
  }
  const d = width / heads;
  if (d > 4 * MAX_D4) {
    throw new LimitError(`attention: expected a head of at most ${4 * MAX_D4} channels, got ${d}; use more heads`);
  }
  if (algorithm === 'row' && d > 4 * ROW_D4) {
    throw new LimitError(`attention: the row algorithm takes heads of at most ${4 * ROW_D4} channels, got ${d}`);
  }
  if (mask) expectMask(mask, B, T, S);
  const apart = (t: Tensor) => reshape(t, [t.shape[0], t.shape[1], heads, d]);
  const inputs = { q: apart(q), k: apart(k), v: apart(v), mask };
  const attrs = { heads, scale: options.scale ?? 1 / Math.sqrt(d), algorithm };
  return reshape(q.graph.record(attentionOp, inputs, attrs, [B, T, heads, d]), [B, T, width]);
}

function expectMask(mask: Tensor, B: number, T: number, S: number): void {
  const [b, t, s] = mask.shape;
  const fits = mask.shape.length === 3 && (b === B || b === 1) && (t === T || t === 1) && s === S;
  if (!fits || mask.dtype !== 'f32') {
    throw new ShapeError(
      `attention: expected an f32 mask [${B} or 1,${T} or 1,${S}], got ${mask.dtype} ${formatShape(mask.shape)}`,
    );
  }
}
