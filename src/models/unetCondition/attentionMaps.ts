/**
 * Where a network looks for chosen tokens of its context: probabilities of cross-attention, averaged over heads and
 * layers. Tang et al. 2023, "What the DAAM", section 3, https://arxiv.org/abs/2210.04885. A recording of its own: runs
 * that do not ask for maps record nothing of this.
 */
import { UnsupportedError, type Graph, type Tensor } from '../../engine/index.ts';
import { add, attention, concat, fromNchw, reshape, slice, toNchw, unary } from '../../kernels/index.ts';
import { pixelMean } from '../../kernels/resampleGrad.ts';
import type { AttentionProbe } from '../blocks/transformer2d.ts';

/** Which tokens of the context, per picture of the batch. */
export type AttendedTokens = readonly (readonly number[])[];

/** What a recording does to the attention of every transformer over pixels. */
export class AttentionMaps {
  /** Sums over the layers of one size, [B,h,w,n], by size. */
  private readonly sums = new Map<string, Tensor>();
  private readonly tiles = new Map<string, Tensor>();
  private layers = 0;

  /** @param select [B,S,n+D]: a one for the token that each of the first n channels asks about; D is the widest head */
  constructor(
    private readonly select: Tensor,
    /** Tokens asked about. */
    private readonly n: number,
  ) {}

  /**
   * softmax(q kᵀ/√d)·e for the token that e is one at: attention whose values are a selection gives its probabilities,
   * by the kernels that the network itself runs.
   */
  readonly probe: AttentionProbe = (q, k, { heads, mask, size: [H, W] }) => {
    const [B, T, width] = q.shape;
    const d = width / heads;
    let all: Tensor | undefined;
    for (let from = 0; from < this.n; from += d) {
      const p = attention(q, k, this.values(from, d, heads), { heads, mask }); // [B,T,heads·d]
      const mean = pixelMean(reshape(p, [B * T, heads, 1, d])); // [B·T,d]
      all = all ? concat(all, mean) : mean; // [B·T,…]
    }
    const map = reshape(slice(all!, 0, this.n), [B, H, W, this.n]); // [B,h,w,n]
    const before = this.sums.get(`${H} ${W}`);
    this.sums.set(`${H} ${W}`, before ? add(before, map) : map); // [B,h,w,n]
    this.layers++;
  };

  /**
   * Names the outputs `attended0` …, [B,n,h,w], one per size; their sum, enlarged, is the mean over the layers.
   * @throws UnsupportedError for a network without transformers over its pixels.
   */
  output(g: Graph): void {
    if (this.layers === 0) {
      throw new UnsupportedError(
        'attentionMaps: expected a U-Net with transformers over its pixels (CrossAttn blocks), got none',
      );
    }
    [...this.sums.values()].forEach((sum, i) => {
      g.output(`attended${i}`, toNchw(unary(sum, { alpha: 1 / this.layers })));
    });
  }

  /** The selection for tokens `from` …, once per head: [B,S,heads·d]. */
  private values(from: number, d: number, heads: number): Tensor {
    const key = `${from} ${d} ${heads}`;
    const known = this.tiles.get(key);
    if (known) return known;
    const tiled = repeated(slice(this.select, from, from + d), heads); // [B,S,heads·d]
    this.tiles.set(key, tiled);
    return tiled;
  }
}

/** x […,C] `times` times side by side, […,times·C], by doubling. */
function repeated(x: Tensor, times: number): Tensor {
  let out: Tensor | undefined;
  for (let power = x, left = times; left > 0; left >>= 1) {
    if (left & 1) out = out ? concat(out, power) : power;
    if (left > 1) power = concat(power, power);
  }
  return out!;
}

/** The input that {@link selection} fills, [B,S,width]. */
export function declareSelection(g: Graph, B: number, S: number, width: number): Tensor {
  return reshape(fromNchw(g.input('select', [B * S, width])), [B, S, width]); // [B,S,width]
}

/** The values of `select` [B,S,width]: ones at [b, tokens[b][i], i]; a token beyond the context selects nothing. */
export function selection(tokens: AttendedTokens, S: number, width: number): Float32Array {
  const out = new Float32Array(tokens.length * S * width);
  tokens.forEach((row, b) => row.forEach((s, i) => s < S && (out[(b * S + s) * width + i] = 1)));
  return out;
}
