/** Naive f64 truth of attention. */

export interface AttentionShape {
  B: number;
  T: number;
  S: number;
  heads: number;
  /** Channels per head. */
  d: number;
}

export interface AttentionTruth {
  out: Float64Array;
  /** Largest Σ|q·k|·scale of any score plus |mask| where weights remain, by which rounding errors grow. */
  score: number;
}

/** softmax(scale·q kᵀ + mask)·v; q [B,T,heads·d], k, v [B,S,heads·d], mask(b, h, t, s). */
export function attentionReference(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  { B, T, S, heads, d }: AttentionShape,
  scale = 1 / Math.sqrt(d),
  mask: (b: number, h: number, t: number, s: number) => number = () => 0,
): AttentionTruth {
  const width = heads * d;
  const out = new Float64Array(B * T * width);
  let score = 0;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < T; t++) {
        const row = (b * T + t) * width + h * d;
        const scores = Array.from({ length: S }, (_, s) => {
          const key = (b * S + s) * width + h * d;
          let sum = 0;
          let size = 0;
          for (let i = 0; i < d; i++) {
            sum += q[row + i] * k[key + i];
            size += Math.abs(q[row + i] * k[key + i]);
          }
          score = Math.max(score, size * Math.abs(scale));
          return sum * scale + Math.max(mask(b, h, t, s), -1e30);
        });
        const top = Math.max(...scores);
        const shift = Math.abs(mask(b, h, t, scores.indexOf(top)));
        if (shift < 1e29) score = Math.max(score, shift);
        // Beside 10³⁰ the scores themselves are nothing, in f32 as in f64: all keys weigh the same.
        const weights = scores.map((s) => Math.exp(s - top));
        const total = weights.reduce((a, w) => a + w, 0);
        for (let s = 0; s < S; s++) {
          const at = (b * S + s) * width + h * d;
          for (let i = 0; i < d; i++) out[row + i] += (weights[s] / total) * v[at + i];
        }
      }
    }
  }
  return { out, score };
}
