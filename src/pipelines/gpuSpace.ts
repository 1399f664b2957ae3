/** The sampler's vectors on the GPU: dense f32 buffers, recycled from step to step, and one dispatch per operation. */
import { InvalidArgumentError, ShapeError, type Device } from '../engine/index.ts';
import {
  ITEM_OPS,
  VEC_OPS,
  vecCopyKernel,
  vecItemsKernel,
  vecLinearKernel,
  vecMatchStdKernel,
  vecQuantileKernel,
  vecStatsKernel,
} from '../kernels/vec.ts';
import type { HostValues, LinearForm, Vec, VecSpace } from '../sampler/index.ts';
import { GpuVec } from './gpuVec.ts';
import { BufferPool, VecQueue } from './vecQueue.ts';

/** Terms that one dispatch of vecLinear reads. */
const MAX_TERMS = 6;
/** Partial results per item that a second stage merges in one invocation. */
const MAX_PARTS = 1024;
interface LinearCall {
  op?: keyof typeof VEC_OPS;
  lo?: number;
  hi?: number;
  /** t₄ and t₅ where the operation takes them. */
  operands?: readonly GpuVec[];
}

/**
 * Vectors on one device. Operations return at once; the GPU follows in the order of the calls. What a step of a run makes
 * is recycled when it ends, so a loop allocates nothing after its first steps.
 */
export class GpuSpace implements VecSpace {
  /** Vectors of the run, which the end of a step may take. */
  private readonly ofRun = new Set<GpuVec>();

  private constructor(
    readonly device: Device,
    private readonly memory: BufferPool,
    private readonly queue: VecQueue,
  ) {}

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
   * A vector over someone else's dense f32 buffer, seen in place from element `offset` on; it must hold still for as long
   * as the vector is in use. Where it does not start on a vec4, a copy.
   * @throws InvalidArgumentError if the items do not divide or the buffer is too small.
   */
  wrap(buffer: GPUBuffer, length: number, batch = 1, offset = 0): GpuVec {
    checkItems('GpuSpace.wrap', length, batch);
    if (offset % 4 !== 0 || buffer.size < 4 * (offset + up4(length))) return this.copy(buffer, length, batch, offset);
    return new GpuVec(this, buffer, length, batch, offset, length / batch);
  }

  /**
   * A copy of `length` elements of a dense f32 buffer from element `offset` on: for the output of a network that will be
   * called again within the step.
   * @throws InvalidArgumentError if the items do not divide or the buffer is too small.
   */
  copy(buffer: GPUBuffer, length: number, batch = 1, offset = 0): GpuVec {
    checkItems('GpuSpace.copy', length, batch);
    if (buffer.size < 4 * (offset + length)) {
      const bytes = 4 * (offset + length);
      throw new InvalidArgumentError(`GpuSpace.copy: expected a buffer of at least ${bytes} bytes, got ${buffer.size}`);
    }
    const v = this.make(length, batch);
    const encoder = this.device.gpu.createCommandEncoder({ label: 'vec copy' });
    encoder.copyBufferToBuffer(buffer, 4 * offset, v.buffer, 0, 4 * length);
    this.device.gpu.queue.submit([encoder.finish()]);
    return v;
  }

  /** The same values at the start of a buffer and without gaps, as networks take them; `v` itself if it is so. */
  contiguous(v: Vec): GpuVec {
    const own = this.own(v);
    return own.dense && own.offset === 0 ? own : this.gather(own, own.offset, own.item);
  }

  /** {@inheritDoc VecSpace.materialise} */
  materialise(form: LinearForm): Vec {
    return form.single ? this.own(form.single) : this.linear(form);
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
    return this.linear(form, { op: 'clamp', lo, hi });
  }

  /** {@inheritDoc VecSpace.mulExp} @throws ShapeError on another length. */
  mulExp(v: Vec, logScale: LinearForm): Vec {
    return this.linear(logScale, { op: 'mulExp', operands: [this.like(v, logScale, 'mulExp')] });
  }

  /** {@inheritDoc VecSpace.mulSqrt} @throws ShapeError on another length. */
  mulSqrt(v: Vec, scale: LinearForm): Vec {
    return this.linear(scale, { op: 'mulSqrt', operands: [this.like(v, scale, 'mulSqrt')] });
  }

  /** {@inheritDoc VecSpace.mask} @throws ShapeError on another length. */
  mask(inside: LinearForm, outside: LinearForm, mask: Vec): Vec {
    const m = this.like(mask, inside, 'mask');
    const rest = this.like(this.materialise(outside), inside, 'mask');
    const out = this.linear(inside, { op: 'mask', operands: [rest, m] });
    if (!outside.single) this.release(rest);
    return out;
  }

  /** {@inheritDoc VecSpace.threshold} @throws InvalidArgumentError unless 0 ≤ ratio ≤ 1. */
  threshold(form: LinearForm, ratio: number, maxValue: number): Vec {
    const [x, temporary] = this.denseOf(form);
    const quantiles = this.quantiles(x, ratio);
    const out = this.perItem('threshold', x, quantiles, maxValue);
    this.release(quantiles);
    if (temporary) this.release(x);
    return out;
  }

  /** {@inheritDoc VecSpace.matchStd} @throws ShapeError on another length. */
  matchStd(form: LinearForm, reference: Vec, amount: number): Vec {
    const [x, temporary] = this.denseOf(form);
    const a = this.stats(x);
    const b = this.stats(this.like(reference, form, 'matchStd'));
    const factor = this.make(x.batch, 1);
    const params = { batch: x.batch, parts: partsOf(x.item), amount };
    this.queue.dispatch(vecMatchStdKernel, params, { v: a, reference: b, out: factor });
    const out = this.perItem('scale', x, factor, 0);
    for (const v of [a, b, factor]) this.release(v);
    if (temporary) this.release(x);
    return out;
  }

  /** {@inheritDoc VecSpace.halves} @throws ShapeError when an item has an odd number of elements. */
  halves(v: Vec): readonly [Vec, Vec] {
    const own = this.own(v);
    const { item, batch, offset, stride } = own;
    if (item % 2 !== 0) {
      throw new ShapeError(`halves: expected an even item size, got ${item}; the channels must split in two`);
    }
    const half = item / 2;
    const at = (start: number) => {
      // One item's half is dense wherever it starts; several are seen in place only vec4 by vec4.
      if (start % 4 === 0 && (batch === 1 || (half % 4 === 0 && stride % 4 === 0))) {
        return new GpuVec(this, own.buffer, v.length / 2, batch, start, stride, own.root);
      }
      return this.gather(own, start, half);
    };
    return [at(offset), at(offset + half)];
  }

  /** {@inheritDoc VecSpace.norm} @throws DeviceLostError */
  async norm(v: Vec): Promise<number[]> {
    const own = this.own(v);
    const stats = this.stats(own);
    const parts = partsOf(own.item);
    const values = new Float32Array(await this.device.read(stats.buffer, 16 * own.batch * parts));
    this.release(stats);
    return Array.from({ length: own.batch }, (_, b) => {
      let sum = 0;
      for (let i = 4 * b * parts; i < 4 * (b + 1) * parts; i += 4)
        sum += values[i + 2] + values[i] * values[i + 1] ** 2;
      return Math.sqrt(sum);
    });
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
    const dense = own.dense ? own : this.gather(own, own.offset, own.item);
    const values = new Float32Array(await this.device.read(dense.buffer, 4 * own.length, 4 * dense.offset));
    if (dense !== own) this.release(dense);
    return values;
  }

  /** {@inheritDoc VecSpace.beginRun} */
  beginRun(): void {
    this.ofRun.clear();
  }

  /** {@inheritDoc VecSpace.endStep} */
  endStep(keep: readonly Vec[]): void {
    const kept = new Set(keep.map((v) => this.own(v).root));
    for (const v of this.ofRun) if (!kept.has(v)) this.recycle(v);
  }

  /** {@inheritDoc VecSpace.release} */
  release(v: Vec): void {
    const { root } = this.own(v);
    if (this.memory.owns(root.buffer)) this.recycle(root);
  }

  /** Dispatches so far. */
  get dispatches(): number {
    return this.queue.dispatches;
  }

  /** Bytes in this space's buffers, free ones included, and their number. */
  get held(): { bytes: number; buffers: number } {
    return this.memory.held;
  }

  /** Releases every buffer; no vector of this space may be used afterwards. */
  dispose(): void {
    this.ofRun.clear();
    this.memory.dispose();
  }

  private recycle(v: GpuVec): void {
    if (!v.alive) return;
    v.alive = false;
    this.ofRun.delete(v);
    this.memory.give(v.buffer);
  }

  /** A dense vector with a buffer of its own. */
  private make(length: number, batch: number): GpuVec {
    const v = new GpuVec(this, this.memory.take(4 * up4(length)), length, batch, 0, length / batch);
    this.ofRun.add(v);
    return v;
  }

  private own(v: Vec): GpuVec {
    if (!(v instanceof GpuVec) || v.space !== this) {
      throw new InvalidArgumentError('GpuSpace: expected a vector of this space, got one of another; read() it first');
    }
    if (!v.root.alive || !v.alive) {
      throw new InvalidArgumentError('GpuSpace: the vector was released, or its step has ended; name it in keep');
    }
    return v;
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

  /** f(Σ cᵢ·tᵢ + bias) in one dispatch, or one more for every five terms beyond what it can read. */
  private linear(form: LinearForm, { op = 'linear', lo = 0, hi = 0, operands = [] }: LinearCall = {}): GpuVec {
    const { length, batch } = form.like;
    let terms = form.nonZero().map(([v, c]): [GpuVec, number] => [this.own(v), c]);
    const room = MAX_TERMS - operands.length;
    const partial: GpuVec[] = [];
    while (terms.length > room) {
      const sum = this.make(length, batch);
      this.dispatchLinear(terms.slice(0, MAX_TERMS), sum, { op: 'linear', bias: 0, lo, hi }, []);
      partial.push(sum);
      terms = [[sum, 1], ...terms.slice(MAX_TERMS)];
    }
    const out = this.make(length, batch);
    this.dispatchLinear(terms, out, { op, bias: form.bias, lo, hi }, operands);
    for (const v of partial) this.release(v);
    return out;
  }

  private dispatchLinear(
    terms: readonly [GpuVec, number][],
    out: GpuVec,
    { op, bias, lo, hi }: { op: keyof typeof VEC_OPS; bias: number; lo: number; hi: number },
    operands: readonly GpuVec[],
  ): void {
    const slots = Array<GpuVec | undefined>(MAX_TERMS).fill(undefined);
    const c = Array<number>(MAX_TERMS).fill(0);
    terms.forEach(([v, k], i) => ([slots[i], c[i]] = [v, k]));
    operands.forEach((v, i) => (slots[MAX_TERMS - operands.length + i] = v));
    // Where a term has gaps its items are whole vec4, and so are those of all others.
    const flat = slots.every((v) => !v || v.dense);
    const n4 = up4(out.length) / 4;
    const item4 = flat ? n4 : out.item / 4;
    const offset = slots.map((v) => (v ? v.offset / 4 : 0));
    const stride = slots.map((v) => (!v || flat ? 0 : v.stride / 4));
    const split = <T>(list: readonly T[]) => [list.slice(0, 4), list.slice(4)] as const;
    const [[c0, c1], [offset0, offset1], [stride0, stride1]] = [split(c), split(offset), split(stride)];
    this.queue.dispatch(
      vecLinearKernel,
      {
        n4,
        item4,
        terms: terms.length,
        op: VEC_OPS[op],
        bias,
        lo,
        hi,
        c0,
        c1,
        offset0,
        offset1,
        stride0,
        stride1,
      },
      { ...Object.fromEntries(slots.map((v, i) => [`t${i}`, v])), out },
    );
  }

  /** The form as a dense vector, and whether it was made for this. */
  private denseOf(form: LinearForm): [GpuVec, boolean] {
    const single = form.single && this.own(form.single);
    return single?.dense && single.offset === 0 ? [single, false] : [this.linear(form), true];
  }

  /** `item` elements of every item of v, from element `start` of its buffer on, made dense. */
  private gather(v: GpuVec, start: number, item: number): GpuVec {
    const out = this.make(v.batch * item, v.batch);
    const params = { n: out.length, item, offset: start, stride: v.stride };
    this.queue.dispatch(vecCopyKernel, params, { input: v, out });
    return out;
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

  private perItem(op: keyof typeof ITEM_OPS, x: GpuVec, scale: GpuVec, hi: number): GpuVec {
    const out = this.make(x.length, x.batch);
    const params = { n4: up4(x.length) / 4, item: x.item, batch: x.batch, op: ITEM_OPS[op], hi };
    this.queue.dispatch(vecItemsKernel, params, { x, scale, out });
    return out;
  }
}

const up4 = (n: number) => 4 * Math.ceil(n / 4);

const partsOf = (item: number) => Math.min(MAX_PARTS, Math.ceil(item / 16));

function checkItems(where: string, length: number, batch: number): void {
  if (!Number.isInteger(batch) || batch < 1 || length === 0 || length % batch !== 0) {
    throw new InvalidArgumentError(
      `${where}: expected a positive multiple of batch ${batch}, got ${length} values; check the shape`,
    );
  }
}
