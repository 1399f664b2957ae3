/** Terms of the variational bound, on the host. Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672, section 3. */

/** KL of two normals by mean and log variance, nats. */
export function normalKl(mean1: number, logVar1: number, mean2: number, logVar2: number): number {
  return (Math.expm1(logVar1 - logVar2) - (logVar1 - logVar2) + (mean1 - mean2) ** 2 * Math.exp(-logVar2)) / 2;
}

/** How distribution functions are rounded: `f32` repeats published bounds, whose far tails are its roundings. */
export type BoundPrecision = 'f32' | 'f64';

/** The normal distribution function, to 3·10⁻⁴: the tanh form, which training used. Hendrycks & Gimpel 2016. */
function normalCdf(x: number, precision: BoundPrecision): number {
  const t = Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3));
  return precision === 'f32' ? Math.fround(1 + Math.fround(t)) / 2 : (1 + t) / 2;
}

/** Smallest probability whose logarithm is taken, and pixels beyond which the outermost bin is open. */
const [LEAST, EDGE] = [1e-12, 0.999];

/** log P of an 8-bit pixel x in −1 … 1 under N(mean, e^(2·logScale)), nats. Ho et al. 2020, equation 13. */
export function pixelLogLikelihood(
  x: number,
  mean: number,
  logScale: number,
  precision: BoundPrecision = 'f64',
): number {
  const inverse = Math.exp(-logScale);
  const above = normalCdf(inverse * (x - mean + 1 / 255), precision);
  const below = normalCdf(inverse * (x - mean - 1 / 255), precision);
  if (x < -EDGE) return Math.log(Math.max(above, LEAST));
  if (x > EDGE) return Math.log(Math.max(1 - below, LEAST));
  return Math.log(Math.max(above - below, LEAST));
}
