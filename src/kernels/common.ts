/** What several ops share: activations by name, ceil-division, shape helpers. */
import {
  formatShape,
  InvalidArgumentError,
  numel,
  ShapeError,
  type Capabilities,
  type Tensor,
} from '../engine/index.ts';

/** Activations by the numbers that `modules/activation.wgsl` gives them. */
export const ACTIVATIONS = {
  none: 0,
  silu: 1,
  gelu: 2,
  gelu_tanh: 3,
  quick_gelu: 4,
  relu: 5,
  tanh: 6,
  sigmoid: 7,
  mish: 8,
  elu: 9,
  leaky_relu: 10,
} as const;

/** The name of an activation. */
export type Activation = keyof typeof ACTIVATIONS;

/**
 * Whether the driver translates shaders quickly and plainly, as those of processors with at most four lanes do
 * (SwiftShader): variables that a loop changes live in memory, slow operations are not overlapped with others, and one
 * more shader costs little. Drivers with wider subgroups take long over each shader and optimise it more.
 */
export const plainlyTranslated = ({ software, subgroupSize }: Capabilities) => software && subgroupSize <= 4;

export const ceilDiv = (a: number, b: number) => Math.ceil(a / b);

/** The nearest power of two: what is fastest for one size is nearly so for its neighbours. */
export const near = (n: number) => 2 ** Math.round(Math.log2(n));

/** vec4 per row of a tensor in `rows` layout. */
export const width4 = (t: Tensor) => ceilDiv(t.shape.at(-1)!, 4);

/** Rows of a tensor: the product of all dimensions but the last. */
export const rowsOf = (t: Tensor) => numel(t.shape.slice(0, -1));

/** Rows as [B,N]: a batch of vectors may have been recorded as a sequence. */
export const asItems = (t: Tensor) => (t.shape.length === 2 ? t : t.graph.view(t, [rowsOf(t), t.shape.at(-1)!]));

export const sameShape = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((d, i) => d === b[i]);

/** @throws ShapeError unless `t` has `rank` dimensions in `rows` layout. */
export function expectRank(where: string, name: string, t: Tensor, rank: number, form: string): void {
  if (t.shape.length !== rank || t.layout !== 'rows') {
    const extra = t.layout === 'dense' ? ' (dense; use fromNchw first)' : '';
    throw new ShapeError(`${where}: expected ${name} ${form}, got ${formatShape(t.shape)}${extra}`);
  }
}

/** @throws ShapeError unless both have the same shape. */
export function expectSame(where: string, name: string, t: Tensor, shape: readonly number[]): void {
  if (!sameShape(t.shape, shape)) {
    throw new ShapeError(`${where}: expected ${name} ${formatShape(shape)}, got ${formatShape(t.shape)}`);
  }
}

/** The number of an activation. @throws InvalidArgumentError for an unknown name. */
export function activationCode(act: Activation | undefined): number {
  const code = ACTIVATIONS[act ?? 'none'];
  if (code === undefined) {
    throw new InvalidArgumentError(`activation: expected one of ${Object.keys(ACTIVATIONS).join(', ')}, got ${act}`);
  }
  return code;
}

/** Whether a view of `rows` still has its rows, whole or taken apart into heads: [B,T,heads·d] or [B,T,heads,d]. */
export const showsRows = (view: Tensor, rows: Tensor) =>
  view.shape.at(-1) === rows.shape.at(-1) ||
  (view.shape.length === 4 && view.shape[2] * view.shape[3] === rows.shape.at(-1));
