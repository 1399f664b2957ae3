/** Vectors in host memory: the reference space, and the one that runs where there is no GPU. */
import { InvalidArgumentError, ShapeError } from '../engine/errors.ts';
import {
  checkBoxDirection,
  type BoxDirection,
  type HostValues,
  type LinearForm,
  type Vec,
  type VecSpace,
} from './vec.ts';

/** A host array of `batch` items, [B, …]. */
export class HostVec implements Vec {
  readonly space: HostSpace;
  /** The values, item after item. */
  readonly data: HostValues;
  readonly batch: number;

  constructor(space: HostSpace, data: HostValues, batch: number) {
    this.space = space;
    this.data = data;
    this.batch = batch;
  }

  /** Elements in all items together. */
  get length(): number {
    return this.data.length;
  }
}

/** Quantile p of sorted values, linear between order statistics as in torch.quantile and numpy. */
function quantileOf(sorted: Float64Array, p: number): number {
  const at = p * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

/** Unbiased standard deviation, two passes. */
function stdOf(values: ArrayLike<number>): number {
  let mean = 0;
  for (let i = 0; i < values.length; i++) mean += values[i] / values.length;
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] - mean) ** 2;
  return Math.sqrt(sum / (values.length - 1));
}

/**
 * Computes on host arrays: f64 inside an operation, one rounding to the storage type at its end. `f64` storage is for
 * measuring the order of a solver; `f32` is what a GPU holds.
 */
export class HostSpace implements VecSpace {
  readonly precision: 'f32' | 'f64';

  /** @param precision storage of every vector of this space */
  constructor(precision: 'f32' | 'f64' = 'f32') {
    this.precision = precision;
  }

  /** A vector of `batch` equal items over a copy of `values`. @throws InvalidArgumentError if they do not divide. */
  vec(values: ArrayLike<number>, batch = 1): HostVec {
    if (!Number.isInteger(batch) || batch < 1 || values.length === 0 || values.length % batch !== 0)
      throw new InvalidArgumentError(
        `HostSpace.vec: expected a positive multiple of batch ${batch}, got ${values.length} values; check the shape`,
      );
    const data = this.storage(values.length);
    data.set(values);
    return new HostVec(this, data, batch);
  }

  /** {@inheritDoc VecSpace.materialise} */
  materialise(form: LinearForm): Vec {
    return form.single ?? this.map(form, (x) => x);
  }

  /** {@inheritDoc VecSpace.upload} @throws ShapeError on another length. */
  upload(values: HostValues, like: Vec): Vec {
    if (values.length !== like.length)
      throw new ShapeError(`upload: expected ${like.length} values, got ${values.length}; match the state's shape`);
    return this.vec(values, like.batch);
  }

  /** {@inheritDoc VecSpace.clamp} */
  clamp(form: LinearForm, lo: number, hi: number): Vec {
    return this.map(form, (x) => Math.min(Math.max(x, lo), hi));
  }

  /** {@inheritDoc VecSpace.mulExp} */
  mulExp(v: Vec, logScale: LinearForm): Vec {
    const { data } = this.own(v);
    return this.map(logScale, (s, i) => data[i] * Math.exp(s));
  }

  /** {@inheritDoc VecSpace.mulSqrt} */
  mulSqrt(v: Vec, scale: LinearForm): Vec {
    const { data } = this.own(v);
    return this.map(scale, (s, i) => data[i] * Math.sqrt(s));
  }

  /** {@inheritDoc VecSpace.mask} @throws ShapeError on another length. */
  mask(inside: LinearForm, outside: LinearForm, mask: Vec): Vec {
    if (mask.length !== inside.like.length)
      throw new ShapeError(`mask: expected ${inside.like.length} values, got ${mask.length}; match the state's shape`);
    const m = this.own(mask).data;
    const out = this.evaluate(outside);
    return this.map(inside, (x, i) => m[i] * x + (1 - m[i]) * out[i]);
  }

  /** {@inheritDoc VecSpace.relativeError} */
  relativeError(error: LinearForm, a: Vec, b: Vec, atol: number, rtol: number, rule: 'sum' | 'max'): Vec {
    const [p, q] = [this.own(a).data, this.own(b).data];
    return this.map(error, (e, i) => {
      const m = rtol * Math.max(Math.abs(p[i]), Math.abs(q[i]));
      return e / (rule === 'sum' ? atol + m : Math.max(atol, m));
    });
  }

  /** {@inheritDoc VecSpace.scaleByNorms} */
  scaleByNorms(form: LinearForm, over: Vec, under: Vec, power: 1 | 2): Vec {
    const sum = (v: Vec): number => this.norms(v).reduce((a, b) => a + b);
    const factor = (sum(over) / sum(under)) ** power;
    return this.map(form, (x) => x * factor);
  }

  /** {@inheritDoc VecSpace.threshold} */
  threshold(form: LinearForm, ratio: number, maxValue: number): Vec {
    const values = this.evaluate(form);
    for (const item of this.items(values, form.like.batch)) {
      const s = Math.min(Math.max(quantileOf(item.map(Math.abs).sort(), ratio), 1), maxValue);
      item.forEach((x, i) => (item[i] = Math.min(Math.max(x, -s), s) / s));
    }
    return this.vec(values, form.like.batch);
  }

  /** {@inheritDoc VecSpace.matchStd} */
  matchStd(form: LinearForm, reference: Vec, amount: number): Vec {
    const values = this.evaluate(form);
    const wanted = [...this.items(this.own(reference).data, reference.batch)].map(stdOf);
    [...this.items(values, form.like.batch)].forEach((item, b) => {
      const factor = (amount * wanted[b]) / stdOf(item) + 1 - amount;
      item.forEach((x, i) => (item[i] = x * factor));
    });
    return this.vec(values, form.like.batch);
  }

  /** {@inheritDoc VecSpace.project} */
  project(form: LinearForm, along: BoxDirection): Vec {
    const { shape, box, direction } = along;
    const { length, batch } = form.like;
    checkBoxDirection('project', along, form.like);
    const [[, H, W], [c, h, w]] = [shape, box];
    const values = this.evaluate(form);
    const square = h * w * direction.reduce((sum, d) => sum + d * d, 0);
    const boxOf = (i: number): number => {
      const [plane, row, column] = [Math.floor(i / (H * W)), Math.floor(i / W) % H, i % W];
      return (Math.floor(plane / c) * (H / h) + Math.floor(row / h)) * (W / w) + Math.floor(column / w);
    };
    const at = (i: number): number => direction[Math.floor(i / (H * W)) % c];
    const parts = new Float64Array(length / (c * h * w));
    values.forEach((x, i) => (parts[boxOf(i)] += at(i) * x));
    return this.vec(
      values.map((_, i) => (at(i) * parts[boxOf(i)]) / square),
      batch,
    );
  }

  /** {@inheritDoc VecSpace.halves} @throws ShapeError when an item has an odd number of elements. */
  halves(v: Vec): readonly [Vec, Vec] {
    const items = [...this.items(this.own(v).data, v.batch)];
    if (items[0].length % 2 !== 0)
      throw new ShapeError(
        `halves: expected an even item size, got ${items[0].length}; the channels must split in two`,
      );
    const half = items[0].length / 2;
    const gather = (from: number): HostVec => {
      const data = this.storage(v.length / 2);
      items.forEach((item, b) => data.set(item.subarray(from, from + half), b * half));
      return new HostVec(this, data, v.batch);
    };
    return [gather(0), gather(half)];
  }

  /** {@inheritDoc VecSpace.norm} */
  async norm(v: Vec): Promise<number[]> {
    return this.norms(v);
  }

  /** {@inheritDoc VecSpace.dot} @throws ShapeError on another length. */
  async dot(form: LinearForm, v: Vec): Promise<number[]> {
    if (v.length !== form.like.length)
      throw new ShapeError(`dot: expected ${form.like.length} values, got ${v.length}; match the state's shape`);
    const { data } = this.own(v);
    const products = this.evaluate(form).map((x, i) => x * data[i]);
    return [...this.items(products, v.batch)].map((item) => item.reduce((a, b) => a + b));
  }

  /** {@inheritDoc VecSpace.quantile} */
  async quantile(v: Vec, p: number): Promise<number[]> {
    return [...this.items(this.own(v).data, v.batch)].map((item) =>
      quantileOf(Float64Array.from(item, Math.abs).sort(), p),
    );
  }

  /** {@inheritDoc VecSpace.read} */
  async read(v: Vec): Promise<HostValues> {
    return this.own(v).data.slice();
  }

  /** {@inheritDoc VecSpace.beginRun} */
  beginRun(): void {}

  /** {@inheritDoc VecSpace.endStep} */
  endStep(): void {}

  /** {@inheritDoc VecSpace.release} */
  release(): void {}

  private storage(length: number): HostValues {
    return this.precision === 'f64' ? new Float64Array(length) : new Float32Array(length);
  }

  private own(v: Vec): HostVec {
    if (v instanceof HostVec) return v;
    throw new InvalidArgumentError('HostSpace: expected a host vector, got one of another space; read() it first');
  }

  private norms(v: Vec): number[] {
    return [...this.items(this.own(v).data, v.batch)].map((item) => {
      let sum = 0;
      for (const x of item) sum += x * x;
      return Math.sqrt(sum);
    });
  }

  private evaluate(form: LinearForm): Float64Array {
    const sum = new Float64Array(form.like.length).fill(form.bias);
    for (const [v, c] of form.nonZero()) {
      const { data } = this.own(v);
      for (let i = 0; i < sum.length; i++) sum[i] += c * data[i];
    }
    return sum;
  }

  private map(form: LinearForm, f: (x: number, i: number) => number): HostVec {
    const sum = this.evaluate(form);
    const data = this.storage(sum.length);
    for (let i = 0; i < sum.length; i++) data[i] = f(sum[i], i);
    return new HostVec(this, data, form.like.batch);
  }

  private *items<T extends HostValues>(data: T, batch: number): Generator<T> {
    const size = data.length / batch;
    for (let b = 0; b < batch; b++) yield data.subarray(b * size, (b + 1) * size) as T;
  }
}
