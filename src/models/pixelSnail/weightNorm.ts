/**
 * Weights kept as direction and length, `weight_v` and `weight_g`: w = g·v/‖v‖ for each output channel. Each is made
 * when it is read, so the host holds one at a time.
 *
 * Salimans, Kingma 2016, "Weight Normalization", equation 2, https://arxiv.org/abs/1602.07868
 */
import { numel, WeightError, type Weight, type WeightSource } from '../../engine/index.ts';
import type { Checkpoint } from '../../loading/index.ts';
import type { WeightScope } from '../weightScope.ts';

/** What else is done to a kernel [O,I,R,S]. */
export type KernelForm =
  /** Nothing. */
  | ''
  /** Taps of the last row from the middle on are zero, before the norm is taken: a pixel does not see itself. */
  | 'causal'
  /**
   * A row of zeros below: with one more row of padding above, the result is shifted down by one. The bias is not added
   * to the row that comes in: it is the weight of one more input channel, of ones.
   */
  | 'down'
  /** The same to the right, by a column of zeros. */
  | 'right';

/** The weight of a normed layer, its parts declared as the checkpoint has them. */
export function normedWeight(w: WeightScope, shape: readonly number[], form: KernelForm = ''): Weight {
  w.param('weight_v', shape);
  w.param(
    'weight_g',
    shape.map((n, i) => (i === 0 ? n : 1)),
  );
  if (shifts(form)) w.param('bias', [shape[0]]);
  return { key: `${w.path}.weight${form && `#${form}`}`, shape: formed(shape, form) };
}

const shifts = (form: KernelForm) => form === 'down' || form === 'right';

const NORMED = /^(.*\.)weight(?:#(causal|down|right))?$/;

/**
 * A checkpoint in which `NAME.weight` follows from `NAME.weight_g` and `NAME.weight_v`.
 * @throws WeightError when part of such a weight is read.
 */
export function weightNormed(stored: Checkpoint): WeightSource {
  const parts = (key: string) => {
    const [, path, form = ''] = NORMED.exec(key) ?? [];
    return path !== undefined && stored.has(`${path}weight_v`) ? { path, form: form as KernelForm } : undefined;
  };
  return {
    name: stored.name,
    keys: () => stored.keys(),
    info(key) {
      const normed = parts(key);
      if (!normed) return stored.has(key) ? stored.info(key) : undefined;
      const { dtype, shape } = stored.info(`${normed.path}weight_v`);
      return { dtype, shape: formed(shape, normed.form) };
    },
    async read(key, { signal, out, rows } = {}) {
      const normed = parts(key);
      if (!normed) return stored.read(key, { signal, out, rows });
      if (rows) throw new WeightError(`${stored.name}: ${key} cannot be read in parts`, [key]);
      const { path, form } = normed;
      const { shape } = stored.info(`${path}weight_v`);
      const v = await stored.read(`${path}weight_v`, { signal });
      const g = await stored.read(`${path}weight_g`, { signal });
      const bias = shifts(form) ? await stored.read(`${path}bias`, { signal }) : undefined;
      return compose(v, g, bias, shape, form, out ?? new Float32Array(numel(formed(shape, form))));
    },
  };
}

function formed(shape: readonly number[], form: KernelForm): readonly number[] {
  const [O, I, R, S] = shape;
  if (form === 'down') return [O, I + 1, R + 1, S];
  return form === 'right' ? [O, I + 1, R, S + 1] : shape;
}

function compose(
  v: Float32Array,
  g: Float32Array,
  bias: Float32Array | undefined,
  shape: readonly number[],
  form: KernelForm,
  out: Float32Array,
): Float32Array {
  const [O, I, R = 1, S = 1] = shape;
  const [, channels, height = 1, width = 1] = formed(shape, form);
  const half = Math.floor(S / 2);
  out.fill(0);
  for (let o = 0; o < O; o++) {
    const taps: [from: number, to: number][] = [];
    for (let i = 0; i < I; i++)
      for (let r = 0; r < R; r++)
        for (let s = 0; s < S; s++) {
          if (form === 'causal' && r === R - 1 && s >= half) continue;
          taps.push([((o * I + i) * R + r) * S + s, ((o * channels + i) * height + r) * width + s]);
        }
    const scale = g[o] / Math.sqrt(taps.reduce((sum, [from]) => sum + v[from] ** 2, 0));
    for (const [from, to] of taps) out[to] = scale * v[from];
    // The tap on the pixel that the layer stood on before it was shifted.
    const own = form === 'down' ? half : S - 1;
    if (bias) out[((o * channels + I) * height + R - 1) * width + own] = bias[o];
  }
  return out;
}
