/** Parity of the noise: our generator against draws recorded from PyTorch (`torch_randn.json`). */
import { TorchGenerator } from '../../sampler/noise/torchGenerator.ts';

interface Run {
  seed: number;
  shape: number[];
  first: number[];
  last: number[];
  sum: number;
  sumsq: number;
  then_randn4: number[];
  then_rand3: number[];
  then_randint_0_1000: number[];
}

/** `TORCH_NORMAL` of the tolerances: how far the last bits of PyTorch's own normals differ between machines. */
const TOLERANCE = 2e-6;

/** Largest |got − want|; unequal lengths and NaN count as infinite. */
export function worstDifference(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < want.length; i++) {
    const d = Object.is(got[i], want[i]) || got[i] === want[i] ? 0 : Math.abs(got[i] - want[i]);
    worst = Math.max(worst, Number.isNaN(d) ? Infinity : d);
  }
  return worst;
}

function replay(run: Run): number {
  const generator = new TorchGenerator(run.seed);
  const n = run.shape.reduce((a, b) => a * b, 1);
  const values = generator.randn(n);
  const sum = values.reduce((a, x) => a + x, 0);
  const sumsq = values.reduce((a, x) => a + x * x, 0);
  const normals = [
    [values.subarray(0, run.first.length), run.first],
    [values.subarray(n - run.last.length), run.last],
    // Sums gather one difference per value (of size |x| for the squares), so they are compared per value.
    [
      [sum / n, sumsq / n / 2],
      [run.sum / n, run.sumsq / n / 2],
    ],
    [generator.randn(4), run.then_randn4],
  ] as const;
  const exact = [
    [generator.rand(3), run.then_rand3],
    [generator.randint(0, 1000, 3), run.then_randint_0_1000],
  ] as const;
  if (exact.some(([got, want]) => worstDifference(got, want) !== 0)) return Infinity;
  return Math.max(...normals.map(([got, want]) => worstDifference(got, want)));
}

/**
 * Replays every run: normals to 2·10⁻⁶, uniforms and integers exactly (else the error is infinite).
 *
 * @param json the parsed `torch_randn.json`
 */
export async function runTorchRandnCase(json: unknown): Promise<{ error: number; tolerance: number }> {
  const { runs } = json as { runs: Run[] };
  return { error: runs.length > 0 ? Math.max(...runs.map(replay)) : Infinity, tolerance: TOLERANCE };
}
