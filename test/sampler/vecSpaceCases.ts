/**
 * What any VecSpace must compute: every operation on ragged shapes, against the host in f64. A GPU space runs the same
 * list; see vec.test.ts for how.
 */
import {
  HostSpace,
  LinearForm,
  TorchGenerator,
  type HostValues,
  type Vec,
  type VecSpace,
} from '../../src/sampler/index.ts';
import { dotTolerance, expectClose } from '../support/close.ts';

/** [B, C, H, W]. */
export type Shape = readonly [number, number, number, number];

/** Makes a vector of a space from values in the order [B, C, H, W]. */
export type MakeVec = (values: Float32Array, shape: Shape) => Vec;

interface Operation {
  /** Inputs, each of the shape of the case. */
  inputs: number;
  run(space: VecSpace, inputs: Vec[], shape: Shape): Vec | Promise<number[]>;
  /** Terms of the longest sum. */
  terms?: (shape: Shape) => number;
  /** Largest magnitude on the way; inputs are within ±6. */
  scale: number;
}

const itemSize = ([, c, h, w]: Shape): number => c * h * w;

const OPERATIONS: Record<string, Operation> = {
  'materialise, one term': { inputs: 1, scale: 12, run: (_, [a]) => LinearForm.of(a, -1.75).materialise() },
  'materialise, two terms and a constant': {
    inputs: 2,
    scale: 24,
    run: (_, [a, b]) => LinearForm.of(a, 1e-3).plus(b, 3.3).plusConstant(0.25).materialise(),
  },
  'materialise, eleven terms, more than default bindings': {
    inputs: 11,
    scale: 72,
    terms: () => 11,
    run: (_, v) =>
      v
        .slice(1)
        .reduce((form, x, i) => form.plus(x, 0.7 - 0.15 * i), LinearForm.of(v[0], 0.9))
        .materialise(),
  },
  'materialise, a term twice': { inputs: 1, scale: 12, run: (_, [a]) => LinearForm.of(a).plus(a, 0.5).materialise() },
  clamp: { inputs: 2, scale: 12, run: (s, [a, b]) => s.clamp(LinearForm.of(a).plus(b, 0.5), -1.25, 0.75) },
  mulExp: { inputs: 2, scale: 180, run: (s, [a, b]) => s.mulExp(a, LinearForm.of(b, 0.5).plusConstant(-1)) },
  mulSqrt: { inputs: 1, scale: 24, run: (s, [a]) => s.mulSqrt(a, LinearForm.of(a, 0.1).plusConstant(2)) },
  mask: {
    inputs: 3,
    scale: 36,
    run: (s, [a, b, m]) => s.mask(LinearForm.of(a, 2), LinearForm.of(b), s.clamp(LinearForm.of(m), 0, 1)),
  },
  'relativeError, the sum': {
    inputs: 3,
    scale: 12,
    run: (s, [a, b, c]) => s.relativeError(LinearForm.of(a, 0.5).minus(b), b, c, 1, 0.5, 'sum'),
  },
  'relativeError, the larger': {
    inputs: 3,
    scale: 12,
    run: (s, [a, b, c]) => s.relativeError(LinearForm.of(a, 0.5).minus(b), b, c, 1, 0.5, 'max'),
  },
  'scaleByNorms, both powers': {
    inputs: 3,
    scale: 400, // of [1, 2, 1, 1] the norms differ by some factor of ten
    terms: itemSize,
    run(s, [a, b, c]) {
      const [once, twice] = ([1, 2] as const).map((p) => s.scaleByNorms(LinearForm.of(a, 2).plus(b), b, c, p));
      return LinearForm.of(once).plus(twice, 0.1).materialise();
    },
  },
  'threshold, by the quantile': { inputs: 1, scale: 12, run: (s, [a]) => s.threshold(LinearForm.of(a, 2), 0.9, 10) },
  'threshold, capped': { inputs: 1, scale: 12, run: (s, [a]) => s.threshold(LinearForm.of(a, 2), 0.995, 1.5) },
  'threshold, nothing to do': { inputs: 1, scale: 1, run: (s, [a]) => s.threshold(LinearForm.of(a, 0.01), 0.995, 10) },
  matchStd: {
    inputs: 2,
    scale: 24,
    terms: itemSize,
    run: (s, [a, b]) => s.matchStd(LinearForm.of(a, 3).plusConstant(0.5), b, 0.7),
  },
  dot: { inputs: 3, scale: 200, terms: itemSize, run: (s, [a, b, c]) => s.dot(LinearForm.of(a, 0.5).plus(b), c) },
  norm: { inputs: 1, scale: 40, terms: itemSize, run: (s, [a]) => s.norm(a) },
  quantile: { inputs: 1, scale: 6, run: (s, [a]) => s.quantile(a, 0.37) },
  'project, two channels together': {
    inputs: 2,
    scale: 24,
    run: (s, [a, b], [, c, h, w]) =>
      s.project(LinearForm.of(a).minus(b), { shape: [c, h, w], box: [2, 1, 1], direction: [0.3, -1.2] }),
  },
  'project, the mean of whole rows, of a half too': {
    inputs: 1,
    scale: 12,
    terms: ([, , , w]) => w,
    run: (s, [a], [, c, h, w]) =>
      s.project(LinearForm.of(s.halves(a)[1]), { shape: [c / 2, h, w], box: [1, 1, w], direction: [2] }),
  },
  'halves, first': { inputs: 1, scale: 6, run: (s, [a]) => LinearForm.of(s.halves(a)[0], 2).materialise() },
  'halves, second': { inputs: 1, scale: 6, run: (s, [a]) => LinearForm.of(s.halves(a)[1], 2).materialise() },
};

const SHAPES: readonly Shape[] = [
  [1, 2, 1, 1],
  [2, 4, 5, 7],
  [3, 2, 17, 31],
  [1, 4, 64, 64],
];

export interface VecSpaceCase {
  name: string;
  /** @throws if the space's result differs from the host's by more than f32 accounts for. */
  run(make: MakeVec): Promise<void>;
}

/** Every operation on every shape. */
export const vecSpaceCases: VecSpaceCase[] = Object.entries(OPERATIONS).flatMap(([name, operation]) =>
  SHAPES.map((shape) => ({ name: `${name}, [${shape.join(', ')}]`, run: (make) => check(operation, shape, make) })),
);

async function check({ inputs, run, terms, scale }: Operation, shape: Shape, make: MakeVec): Promise<void> {
  const host = new HostSpace('f64');
  const generator = new TorchGenerator(11);
  const values = Array.from({ length: inputs }, () => generator.randn(shape[0] * itemSize(shape)));
  const result = async (vecs: Vec[]): Promise<ArrayLike<number>> => {
    const { space } = vecs[0];
    const out = await run(space, vecs, shape);
    return Array.isArray(out) ? out : ((await space.read(out)) as HostValues);
  };
  const want = await result(values.map((v) => host.vec(v, shape[0])));
  const got = await result(values.map((v) => make(v, shape)));
  expectClose(got, want, dotTolerance('f32', terms?.(shape) ?? 2, scale));
}
