/** Naive f64 truth of pooling and of the norms of single channels; pictures [B,H,W,C]. */
import { activation, type ActivationName } from './activation.ts';
import { build, reader, type Picture, type Truth } from './resample.ts';

/** Largest or mean of windows; outside counts not at all, or as zeros. */
export function poolReference(
  x: Picture,
  { side, stride, padding, mean }: { side: number; stride: number; padding: number; mean: boolean },
): Truth {
  const [B, H, W, C] = x.shape;
  const at = reader(x);
  const size = (n: number) => Math.floor((n + 2 * padding - side) / stride) + 1;
  return build([B, size(H), size(W), C], (b, i, j, c) => {
    let [most, sum] = [-Infinity, 0];
    for (let y = i * stride - padding; y < i * stride - padding + side; y++) {
      for (let z = j * stride - padding; z < j * stride - padding + side; z++) {
        sum += at(b, y, z, c);
        if (y >= 0 && z >= 0 && y < H && z < W) most = Math.max(most, at(b, y, z, c));
      }
    }
    return mean ? sum / side ** 2 : most;
  });
}

export interface ChannelNorm {
  mode: 'instance' | 'plus' | 'variance';
  alpha: ArrayLike<number>;
  gamma: ArrayLike<number>;
  beta: ArrayLike<number>;
  eps: number;
  act: ActivationName;
}

/** x [B,P,C] → the normalised values, and by how much a rounding of x grows. */
export function channelNormReference(
  x: ArrayLike<number>,
  { B, P, C }: { B: number; P: number; C: number },
  o: ChannelNorm,
): { out: Float64Array; gain: Float64Array } {
  const out = new Float64Array(x.length);
  const gain = new Float64Array(x.length);
  for (let b = 0; b < B; b++) {
    const column = (c: number) => Array.from({ length: P }, (_, p) => x[(b * P + p) * C + c]);
    const average = (values: readonly number[]) => values.reduce((s, v) => s + v / values.length, 0);
    const squares = (values: readonly number[]) => {
      const m = average(values);
      return values.reduce((s, v) => s + (v - m) ** 2, 0);
    };
    const means = Array.from({ length: C }, (_, c) => average(column(c)));
    const spread = Math.sqrt(squares(means) / (C - 1) + o.eps);
    for (let c = 0; c < C; c++) {
      const values = column(c);
      const biased = Math.sqrt(squares(values) / P + o.eps);
      const unbiased = Math.sqrt(squares(values) / (P - 1) + o.eps);
      const largest = Math.max(...values.map(Math.abs));
      const mHat = (means[c] - average(means)) / spread;
      for (let p = 0; p < P; p++) {
        const i = (b * P + p) * C + c;
        const plain = (x[i] - means[c]) / biased;
        const y = {
          instance: plain,
          plus: o.gamma[c] * (plain + o.alpha[c] * mHat) + o.beta[c],
          variance: (o.gamma[c] * x[i]) / unbiased,
        }[o.mode];
        out[i] = activation(y, o.act);
        const factor = o.mode === 'instance' ? 1 : Math.abs(o.gamma[c]);
        const ofMeans = o.mode === 'plus' ? (Math.abs(o.alpha[c]) * Math.max(...means.map(Math.abs))) / spread : 0;
        gain[i] = factor * (largest / biased + ofMeans);
      }
    }
  }
  return { out, gain };
}
