/**
 * The state of a sampler and what may be done to it. A solver sees tensors only through this contract, so the same
 * ten lines run on a host array and on a GPU buffer. Scalars stay in host f64; a tensor changes by linear combination
 * ({@link LinearForm}, computed once, when it is materialised) or by an operation that has a name on {@link VecSpace}.
 */
import { InvalidArgumentError, ShapeError } from '../engine/errors.ts';

/** A tensor of `batch` items, `length` elements in all; a host array or a GPU buffer, opaque to solvers. */
export interface Vec {
  /** Elements in all items together. */
  readonly length: number;
  /** Items along the first axis; the per-item operations (threshold, norm …) treat each alone. */
  readonly batch: number;
  /** What computes with it. */
  readonly space: VecSpace;
}

/** Values on the host, in the order [B, C, H, W] whatever the layout of the space. */
export type HostValues = Float32Array | Float64Array;

/**
 * How the elements of an item [C, H, W] fall into boxes side by side, and one direction in all of them. Each extent of
 * `box` divides its extent of `shape`; `direction` has one finite number per channel of the box, 1 to 4, not all 0.
 */
export interface BoxDirection {
  readonly shape: readonly [channels: number, height: number, width: number];
  readonly box: readonly [channels: number, height: number, width: number];
  readonly direction: readonly number[];
}

/**
 * That boxes tile the items of a vector and have a direction.
 * @throws InvalidArgumentError, ShapeError if an item has another number of elements
 */
export function checkBoxDirection(where: string, { shape, box, direction }: BoxDirection, v: Vec): void {
  if (!shape.every((n, i) => Number.isInteger(n / box[i]) && Number.isInteger(box[i]) && Math.min(n, box[i]) >= 1))
    throw new InvalidArgumentError(
      `${where}: expected a box that divides ${shape.join(' × ')}, got ${box.join(' × ')}; crop or pad the picture`,
    );
  const square = direction.reduce((sum, d) => sum + d * d, 0);
  if (direction.length !== box[0] || direction.length > 4 || !(square > 0 && square < Infinity))
    throw new InvalidArgumentError(
      `${where}: expected a direction of ${box[0]} finite numbers, at most 4, not all 0, got [${direction.join(', ')}]`,
    );
  if (shape[0] * shape[1] * shape[2] * v.batch !== v.length)
    throw new ShapeError(
      `${where}: expected ${v.length / v.batch} elements per item, got shape ${shape.join(' × ')}; pass C, H, W`,
    );
}

/**
 * Where vectors live and how they are computed with. What is elementwise may wait until a result is read, handed to a
 * network or needed by an operation that is not, and then share one pass over memory with all that waits: so a solver
 * materialises what it keeps as it likes, and its step costs one dispatch. That changes no bit of any value. No
 * argument is ever written to. Only `norm`, `dot`, `quantile` and `read` wait for the device. Every method throws
 * InvalidArgumentError for a vector of another space or one that was released.
 */
export interface VecSpace {
  /** Σ cᵢ·tᵢ + bias in the order of the terms; elementwise. `1·v` may return v itself. */
  materialise(form: LinearForm): Vec;
  /** Host values [B, C, H, W] as a vector with the shape and layout of `like`. @throws ShapeError on another length. */
  upload(values: HostValues, like: Vec): Vec;
  /** min(max(form, lo), hi), elementwise. */
  clamp(form: LinearForm, lo: number, hi: number): Vec;
  /** v ⊙ exp(logScale), elementwise: noise times a learned standard deviation. */
  mulExp(v: Vec, logScale: LinearForm): Vec;
  /** v ⊙ √scale, elementwise; negative `scale` gives NaN. */
  mulSqrt(v: Vec, scale: LinearForm): Vec;
  /** mask ⊙ inside + (1 − mask) ⊙ outside, elementwise; mask in [0, 1]. @throws ShapeError on another length. */
  mask(inside: LinearForm, outside: LinearForm, mask: Vec): Vec;
  /**
   * error ⊘ (atol + rtol·m), or by the rule `max` error ⊘ max(atol, rtol·m), with m = max(|a|, |b|), elementwise: what
   * the norm is taken of where steps are chosen by their error. @throws ShapeError on another length.
   */
  relativeError(error: LinearForm, a: Vec, b: Vec, atol: number, rtol: number, rule: 'sum' | 'max'): Vec;
  /**
   * form·(mean ‖over‖ / mean ‖under‖)^power, means over the items: a step size that follows from norms, without waiting
   * for them. @throws ShapeError on another length.
   */
  scaleByNorms(form: LinearForm, over: Vec, under: Vec, power: 1 | 2): Vec;
  /**
   * Dynamic thresholding, per item: s = min(max(quantile(|x|, ratio), 1), maxValue); clamp(x, −s, s) / s.
   * The quantile interpolates linearly between order statistics. Saharia et al. 2022 (Imagen), section 2.3.
   */
  threshold(form: LinearForm, ratio: number, maxValue: number): Vec;
  /**
   * Per item: v·(amount·std(reference)/std(v) + 1 − amount), std unbiased over the item.
   * Lin et al. 2023 (Common Diffusion Noise Schedules …), section 3.4.
   */
  matchStd(form: LinearForm, reference: Vec, amount: number): Vec;
  /**
   * In every box of every item the part along the direction, d·(d·form)/(d·d); what is at right angles to it goes. A
   * mean over patches, or the brightness of pixels. @throws InvalidArgumentError, ShapeError by
   * {@link checkBoxDirection}.
   */
  project(form: LinearForm, along: BoxDirection): Vec;
  /**
   * A vector [B, 2C, …] as its first and last C channels, each [B, C, …]; may be views.
   * @throws ShapeError when an item has an odd number of elements.
   */
  halves(v: Vec): readonly [Vec, Vec];
  /** Euclidean norm of each item. @throws DeviceLostError */
  norm(v: Vec): Promise<number[]>;
  /** form·v, the scalar product of each item. @throws ShapeError on another length; DeviceLostError */
  dot(form: LinearForm, v: Vec): Promise<number[]>;
  /** Quantile p in [0, 1] of |v| of each item, linear between order statistics. @throws DeviceLostError */
  quantile(v: Vec, p: number): Promise<number[]>;
  /** The values, [B, C, H, W]. @throws DeviceLostError */
  read(v: Vec): Promise<HostValues>;
  /**
   * Begins a sampling run: what exists already stays the caller's; vectors made from here on, by this space or by a
   * network, belong to the run. One run at a time per space.
   */
  beginRun(): void;
  /** Ends a step: the run's vectors may be reused, except those in `keep`. Within a step all of them stay valid. */
  endStep(keep: readonly Vec[]): void;
  /** Gives a vector back: the result of a run, or one of the caller's. */
  release(v: Vec): void;
}

/**
 * A lazy affine form Σ cᵢ·tᵢ + bias over vectors of one shape, with coefficients in host f64. Nothing is computed
 * until a space materialises it, so guidance, parameterisation and solver are one sum.
 */
export class LinearForm {
  /** Coefficient of each vector; may hold zeros, which {@link LinearForm.nonZero} leaves out. */
  readonly terms: ReadonlyMap<Vec, number>;
  /** Added to every element. */
  readonly bias: number;

  private constructor(terms: ReadonlyMap<Vec, number>, bias: number) {
    this.terms = terms;
    this.bias = bias;
  }

  /** c·v; a form passes through, scaled. */
  static of(v: Vec | LinearForm, c = 1): LinearForm {
    return v instanceof LinearForm ? v.scale(c) : new LinearForm(new Map([[v, c]]), 0);
  }

  /** Some term, which knows shape and space. @throws InvalidArgumentError if the form has none. */
  get like(): Vec {
    for (const v of this.terms.keys()) return v;
    throw new InvalidArgumentError('LinearForm: expected at least one vector, got a constant; start with of(v)');
  }

  /** Where its vectors live. @throws InvalidArgumentError if the form has none. */
  get space(): VecSpace {
    return this.like.space;
  }

  /** this + c·other. @throws InvalidArgumentError if lengths differ, or this has no vector yet. */
  plus(other: Vec | LinearForm, c = 1): LinearForm {
    const add = LinearForm.of(other, c);
    const { length, batch } = this.like;
    const terms = new Map(this.terms);
    for (const [v, k] of add.terms) {
      if (v.length !== length || v.batch !== batch)
        throw new InvalidArgumentError(
          `LinearForm.plus: expected ${batch} items, ${length} elements, got ${v.batch} and ${v.length}; ` +
            'combine vectors of one shape only',
        );
      terms.set(v, (terms.get(v) ?? 0) + k);
    }
    return new LinearForm(terms, this.bias + add.bias);
  }

  /** this − c·other. @throws InvalidArgumentError if lengths differ. */
  minus(other: Vec | LinearForm, c = 1): LinearForm {
    return this.plus(other, -c);
  }

  /** this + b in every element. */
  plusConstant(b: number): LinearForm {
    return new LinearForm(this.terms, this.bias + b);
  }

  /** c·this, the constant too. */
  scale(c: number): LinearForm {
    const terms = new Map<Vec, number>();
    for (const [v, k] of this.terms) terms.set(v, c * k);
    return new LinearForm(terms, c * this.bias);
  }

  /** The terms that count. */
  nonZero(): [Vec, number][] {
    return [...this.terms].filter(([, c]) => c !== 0);
  }

  /** The vector itself when the form is 1·v, else undefined. */
  get single(): Vec | undefined {
    const terms = this.nonZero();
    return terms.length === 1 && terms[0][1] === 1 && this.bias === 0 ? terms[0][0] : undefined;
  }

  /** The form as a vector; computed when someone looks. @throws InvalidArgumentError if it has no vector. */
  materialise(): Vec {
    return this.space.materialise(this);
  }
}
