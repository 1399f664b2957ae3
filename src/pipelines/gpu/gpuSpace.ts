/** The sampler's vectors on the GPU, dense f32: what may be done to them. */
import { InvalidArgumentError, ShapeError, type Device } from '../../engine/index.ts';
import {
  vecMatchStdKernel,
  vecNormRatioKernel,
  vecProjectKernel,
  vecQuantileKernel,
  vecStatsKernel,
} from '../../kernels/vec.ts';
import {
  checkBoxDirection,
  LinearForm,
  type BoxDirection,
  type HostValues,
  type Vec,
  type VecSpace,
} from '../../sampler/vec.ts';
import { GpuMemory } from './gpuMemory.ts';
import { Block, GpuVec } from './gpuVec.ts';
import { up4, type RowOp } from './vecProgram.ts';
import { BufferPool, VecQueue } from './vecQueue.ts';

/** Partial results per item that a second stage merges in one invocation. */
const MAX_PARTS = 1024;

/**
 * Vectors on one device. Operations return at once. Elementwise ones wait until their result, or anything computed from
 * it, is read or handed to a network, and then share one dispatch: a solver's history, the state and the network's next
 * input cost one pass over memory. A value has the same bits whichever others are computed with it. What a step of a
 * run makes is recycled when it ends, so a loop allocates nothing after its first steps.
 */
export class GpuSpace extends GpuMemory implements VecSpace {
  /** The ratio of norms asked for last. */
  private last?: { over: GpuVec; under: GpuVec; out: GpuVec };

  /** A space whose pipelines are ready. @throws DeviceLostError, OutOfMemoryError, ValidationError */
  static async open(device: Device): Promise<GpuSpace> {
    const memory = new BufferPool(device);
    try {
      return new GpuSpace(device, memory, await VecQueue.open(device, memory));
    } catch (error) {
      memory.dispose();
      throw error;
    }
  }

  /**
   * A vector of `batch` equal items over a copy of `values`, [B, C, H, W].
   * @throws InvalidArgumentError if they do not divide.
   */
  vec(values: ArrayLike<number>, batch = 1): GpuVec {
    checkItems('GpuSpace.vec', values.length, batch);
    const v = this.make(values.length, batch);
    this.device.gpu.queue.writeBuffer(v.buffer, 0, Float32Array.from(values));
    return v;
  }

  /**
   * A vector over someone else's dense f32 buffer, seen in place from element `offset` on; it must not change before
   * the end of the step or, outside a run, until everything made from it has been read. It is copied where it does not
   * start on a vec4.
   * @throws InvalidArgumentError if the items do not divide or the buffer is too small.
   */
  wrap(buffer: GPUBuffer, length: number, batch = 1, offset = 0): GpuVec {
    checkItems('GpuSpace.wrap', length, batch);
    if (offset % 4 !== 0 || buffer.size < 4 * (offset + up4(length))) return this.copy(buffer, length, batch, offset);
    return new GpuVec(this, length, batch, { block: new Block(buffer), offset, stride: length / batch });
  }

  /**
   * A copy of `length` elements of a dense f32 buffer from element `offset` on: for the output of a network that will
   * be called again within the step.
   * @throws InvalidArgumentError if the items do not divide or the buffer is too small.
   */
  copy(buffer: GPUBuffer, length: number, batch = 1, offset = 0): GpuVec {
    checkItems('GpuSpace.copy', length, batch);
    if (buffer.size < 4 * (offset + length)) {
      const bytes = 4 * (offset + length);
      throw new InvalidArgumentError(`GpuSpace.copy: expected a buffer of at least ${bytes} bytes, got ${buffer.size}`);
    }
    return this.gather(buffer, batch, length / batch, offset, length / batch);
  }

  /** The same values at the start of a buffer and without gaps, as networks take them; `v` itself if it is so. */
  contiguous(v: Vec): GpuVec {
    const own = this.own(v);
    this.compute(own);
    return own.dense && own.offset === 0 ? own : this.dense(own, own.offset, own.item);
  }

  /** {@inheritDoc VecSpace.materialise} */
  materialise(form: LinearForm): Vec {
    return form.single ? this.own(form.single) : this.later(form);
  }

  /** {@inheritDoc VecSpace.upload} @throws ShapeError on another length. */
  upload(values: HostValues, like: Vec): Vec {
    if (values.length !== like.length) {
      throw new ShapeError(`upload: expected ${like.length} values, got ${values.length}; match the state's shape`);
    }
    return this.vec(values, like.batch);
  }

  /** {@inheritDoc VecSpace.clamp} */
  clamp(form: LinearForm, lo: number, hi: number): Vec {
    return this.later(form, 'clamp', [], [lo, hi]);
  }

  /** {@inheritDoc VecSpace.mulExp} @throws ShapeError on another length. */
  mulExp(v: Vec, logScale: LinearForm): Vec {
    return this.later(logScale, 'mulExp', [this.like(v, logScale, 'mulExp')]);
  }

  /** {@inheritDoc VecSpace.mulSqrt} @throws ShapeError on another length. */
  mulSqrt(v: Vec, scale: LinearForm): Vec {
    return this.later(scale, 'mulSqrt', [this.like(v, scale, 'mulSqrt')]);
  }

  /** {@inheritDoc VecSpace.mask} @throws ShapeError on another length. */
  mask(inside: LinearForm, outside: LinearForm, mask: Vec): Vec {
    const m = this.like(mask, inside, 'mask');
    return this.later(inside, 'mask', [this.like(this.materialise(outside), inside, 'mask'), m]);
  }

  /** {@inheritDoc VecSpace.relativeError} @throws ShapeError on another length. */
  relativeError(error: LinearForm, a: Vec, b: Vec, atol: number, rtol: number, rule: 'sum' | 'max'): Vec {
    const at = [a, b].map((v) => this.like(v, error, 'relativeError'));
    return this.later(error, rule === 'sum' ? 'errorSum' : 'errorMax', at, [atol, rtol]);
  }

  /** {@inheritDoc VecSpace.threshold} @throws InvalidArgumentError unless 0 ≤ ratio ≤ 1. */
  threshold(form: LinearForm, ratio: number, maxValue: number): Vec {
    const x = this.own(this.materialise(form));
    return this.perItem(LinearForm.of(x), 'threshold', this.quantiles(x, ratio), [maxValue]);
  }

  /** {@inheritDoc VecSpace.matchStd} @throws ShapeError on another length. */
  matchStd(form: LinearForm, reference: Vec, amount: number): Vec {
    const x = this.own(this.materialise(form));
    const b = this.like(reference, form, 'matchStd');
    const { batch, item } = x;
    const [parts, out] = [{ v: this.stats(x), reference: this.stats(b) }, this.make(batch, 1)];
    this.queue.dispatch(vecMatchStdKernel, { batch, parts: partsOf(item), amount }, { ...parts, out });
    for (const v of Object.values(parts)) this.release(v);
    return this.perItem(LinearForm.of(x), 'scale', out);
  }

  /** {@inheritDoc VecSpace.scaleByNorms} @throws ShapeError on another length. */
  scaleByNorms(form: LinearForm, over: Vec, under: Vec, power: 1 | 2): Vec {
    const [a, b] = [over, under].map((v) => this.like(v, form, 'scaleByNorms'));
    const ratio = this.normRatio(a, b);
    const once = this.later(form, 'scale', [ratio]);
    return power === 1 ? once : this.later(LinearForm.of(once), 'scale', [ratio]);
  }

  /** {@inheritDoc VecSpace.project} */
  project(form: LinearForm, along: BoxDirection): Vec {
    checkBoxDirection('project', along, form.like);
    const x = this.own(this.materialise(form));
    const { batch, item, offset, stride } = x;
    const { shape, box, direction } = along;
    const [channels, height, width] = shape;
    const [boxC, boxH, boxW] = box;
    const [d0, d1 = 0, d2 = 0, d3 = 0] = direction;
    const out = this.make(batch * item, batch);
    const params = { batch, channels, height, width, boxC, boxH, boxW, offset, stride, d0, d1, d2, d3 };
    this.queue.dispatch(vecProjectKernel, params, { x, out });
    return out;
  }

  /** {@inheritDoc VecSpace.halves} @throws ShapeError when an item has an odd number of elements. */
  halves(v: Vec): readonly [Vec, Vec] {
    const own = this.own(v);
    const { offset, item, batch, stride } = own;
    if (item % 2 !== 0) {
      throw new ShapeError(`halves: expected an even item size, got ${item}; the channels must split in two`);
    }
    const half = item / 2;
    const at = (start: number) => {
      // One item's half is dense wherever it starts; several are seen in place only vec4 by vec4.
      if (start % 4 === 0 && (batch === 1 || (half % 4 === 0 && stride % 4 === 0))) {
        const { block } = own.place!;
        return new GpuVec(this, v.length / 2, batch, { block, offset: start, stride }, own.root);
      }
      return this.dense(own, start, half);
    };
    return [at(offset), at(offset + half)];
  }

  /** {@inheritDoc VecSpace.norm} @throws DeviceLostError */
  async norm(v: Vec): Promise<number[]> {
    const square = (n: number, mean: number, spread: number) => spread + n * mean ** 2;
    return (await this.sums(this.own(v), square)).map(Math.sqrt);
  }

  /** {@inheritDoc VecSpace.dot} @throws ShapeError on another length. DeviceLostError */
  async dot(form: LinearForm, v: Vec): Promise<number[]> {
    const product = this.later(form, 'mul', [this.like(v, form, 'dot')]);
    return this.sums(product, (n, mean) => n * mean);
  }

  /** {@inheritDoc VecSpace.quantile} @throws InvalidArgumentError unless 0 ≤ p ≤ 1; DeviceLostError */
  async quantile(v: Vec, p: number): Promise<number[]> {
    const quantiles = this.quantiles(this.own(v), p);
    const values = new Float32Array(await this.device.read(quantiles.buffer, 4 * v.batch));
    this.release(quantiles);
    return [...values];
  }

  /** {@inheritDoc VecSpace.read} @throws DeviceLostError */
  async read(v: Vec): Promise<HostValues> {
    const own = this.own(v);
    const dense = own.dense ? own : this.dense(own, own.offset, own.item);
    const values = new Float32Array(await this.device.read(dense.buffer, 4 * own.length, 4 * dense.offset));
    if (dense !== own) this.release(dense);
    return values;
  }

  private like(v: Vec, form: LinearForm, where: string): GpuVec {
    const own = this.own(v);
    const { length, batch } = form.like;
    if (own.length !== length || own.batch !== batch) {
      throw new ShapeError(
        `${where}: expected ${batch} items, ${length} values, got ${own.batch} and ${own.length}; match the state's shape`,
      );
    }
    return own;
  }

  /** What one number per item does to a form; the numbers are given back. */
  private perItem(form: LinearForm, op: RowOp, numbers: GpuVec, more: number[] = []): GpuVec {
    const out = this.later(form, op, [numbers], more);
    this.release(numbers);
    return out;
  }

  /** `item` elements of every item of v, from element `start` of its buffer on, made dense. */
  private dense({ buffer, batch, stride }: GpuVec, start: number, item: number): GpuVec {
    return this.gather(buffer, batch, item, start, stride);
  }

  private gather(buffer: GPUBuffer, batch: number, item: number, start: number, stride: number): GpuVec {
    const v = this.make(batch * item, batch);
    const encoder = this.device.gpu.createCommandEncoder({ label: 'vec copy' });
    const copies = stride === item ? 1 : batch;
    for (let b = 0; b < copies; b++)
      encoder.copyBufferToBuffer(buffer, 4 * (start + b * stride), v.buffer, 4 * b * item, (4 * v.length) / copies);
    this.device.gpu.queue.submit([encoder.finish()]);
    return v;
  }

  /** Asked for twice in a Langevin step, of the gradient and of the noise. */
  private normRatio(over: GpuVec, under: GpuVec): GpuVec {
    const { last } = this;
    if (last?.out.alive && last.over === over && last.under === under) return last.out;
    const { batch, item } = over;
    const [parts, out] = [{ over: this.stats(over), under: this.stats(under) }, this.make(batch, 1)];
    this.queue.dispatch(vecNormRatioKernel, { batch, parts: partsOf(item) }, { ...parts, out });
    for (const v of Object.values(parts)) this.release(v);
    this.last = { over, under, out };
    return out;
  }

  /** Per item, the sum of f(count, mean, Σ(x − mean)²) over the parts of v. */
  private async sums(v: GpuVec, f: (count: number, mean: number, spread: number) => number): Promise<number[]> {
    const stats = this.stats(v);
    const parts = partsOf(v.item);
    const values = new Float32Array(await this.device.read(stats.buffer, 16 * v.batch * parts));
    this.release(stats);
    return Array.from({ length: v.batch }, (_, b) => {
      let sum = 0;
      for (let i = 4 * b * parts; i < 4 * (b + 1) * parts; i += 4) sum += f(values[i], values[i + 1], values[i + 2]);
      return sum;
    });
  }

  private stats(v: GpuVec): GpuVec {
    const parts = partsOf(v.item);
    const out = this.make(4 * parts * v.batch, 1);
    const { batch, item, offset, stride } = v;
    this.queue.dispatch(vecStatsKernel, { batch, parts, item, offset, stride }, { input: v, out });
    return out;
  }

  private quantiles(v: GpuVec, p: number): GpuVec {
    if (!(p >= 0 && p <= 1)) throw new InvalidArgumentError(`quantile: expected p in [0, 1], got ${p}`);
    const { batch, item, offset, stride } = v;
    const at = p * (item - 1);
    const rank = Math.floor(at);
    const out = this.make(batch, 1);
    this.queue.dispatch(
      vecQuantileKernel,
      { batch, item, offset, stride, rank, fraction: at - rank },
      { input: v, out },
    );
    return out;
  }
}

const partsOf = (item: number) => Math.min(MAX_PARTS, Math.ceil(item / 16));

function checkItems(where: string, length: number, batch: number): void {
  if (!Number.isInteger(batch) || batch < 1 || length === 0 || length % batch !== 0) {
    throw new InvalidArgumentError(
      `${where}: expected a positive multiple of batch ${batch}, got ${length} values; check the shape`,
    );
  }
}
