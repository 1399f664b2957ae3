/**
 * Likelihood by the probability flow where the score is a network's. The authors take the divergence by autograd; here
 * it is a central difference of order 6, all of whose points the network sees as one batch, so that a slope is one
 * call.
 */
import type { HostSpace, HostVec } from '../../../sampler/hostVec.ts';
import { bitsPerDim } from '../../../sampler/sde/likelihood.ts';
import { rk45, type Rk45Options } from '../../../sampler/sde/rk45.ts';
import type { Sde } from '../../../sampler/sde/sde.ts';

/** Weights of f(+kh) − f(−kh), k = 1, 2, 3, over h. */
const WEIGHTS = [3 / 4, -3 / 20, 1 / 60];
/** h: f32 roundings and curvature cost about as much. */
const DISTANCE = 0.025;

interface NetworkLikelihood extends Rk45Options {
  space: HostSpace;
  x: HostVec;
  probe: ArrayLike<number>;
  sde: Sde;
  /** ∇ log p of `items` pictures at t. */
  score(x: Float32Array, t: number, items: number): Promise<Float32Array>;
  /** Where the data stand. */
  end: number;
}

/** Bits per dimension without an offset, latents, and how often the slope was asked for. */
export async function networkLikelihood(o: NetworkLikelihood) {
  const { space, x, probe, sde, end } = o;
  const [batch, length] = [x.batch, x.length];
  const size = length / batch;
  const moves = [0, ...WEIGHTS.flatMap((_, k) => [(k + 1) * DISTANCE, -(k + 1) * DISTANCE])];
  const slope = async (t: number, state: HostVec): Promise<{ x: HostVec; extra: number[] }> => {
    const points = Float32Array.from({ length: moves.length * length }, (_, i) => {
      const at = i % length;
      return state.data[at] + moves[Math.floor(i / length)] * probe[at];
    });
    const scores = await o.score(points, t, moves.length * batch);
    const [drift, half] = [sde.drift(t), sde.diffusion(t) ** 2 / 2];
    const flow = (i: number): number => drift * points[i] - half * scores[i]; // equation 13
    const extra = Array<number>(batch).fill(0);
    for (let i = 0; i < length; i++) {
      const along = WEIGHTS.reduce(
        (sum, w, k) => sum + (w / DISTANCE) * (flow((2 * k + 1) * length + i) - flow((2 * k + 2) * length + i)),
        0,
      );
      extra[Math.floor(i / size)] += along * probe[i];
    }
    return {
      x: space.vec(
        Float64Array.from({ length }, (_, i) => flow(i)),
        batch,
      ),
      extra,
    };
  };
  const start = { x, extra: Array<number>(batch).fill(0) };
  const { state, evaluations } = await rk45((t, y) => slope(t, y.x as HostVec), end, 1, start, o);
  const z = Float64Array.from((state.x as HostVec).data);
  const logLikelihood = state.extra.map((change, b) => {
    const norm2 = z.slice(b * size, (b + 1) * size).reduce((sum, v) => sum + v * v, 0);
    const variance = sde.priorStd ** 2;
    return change - norm2 / (2 * variance) - (size / 2) * Math.log(2 * Math.PI * variance); // equation 39
  });
  return { bitsPerDim: bitsPerDim(logLikelihood, size), z, evaluations };
}
