/** Which of the sampler's vectors are in memory, which still wait to be computed, and which may go. */
import { InvalidArgumentError, type Device } from '../../engine/index.ts';
import type { LinearForm, Vec } from '../../sampler/vec.ts';
import type { GpuSpace } from './gpuSpace.ts';
import { Block, GpuVec } from './gpuVec.ts';
import { inputsOf, Program, ROW_INPUTS, up4, type Row, type RowOp } from './vecProgram.ts';
import type { BufferPool, VecQueue } from './vecQueue.ts';

/** At most so many vectors wait: a loop whose network works in this space itself would never ask for a result. */
const MAX_ROWS = 12;

/** What {@link GpuSpace} stands on. Memory is counted by use: what waits holds what it will be computed from. */
export class GpuMemory {
  /** Vectors of the run, which the end of a step may take. */
  private readonly ofRun = new Set<GpuVec>();
  /** What is still to be computed, in the order of the calls. */
  private waiting: Row[] = [];

  protected constructor(
    readonly device: Device,
    protected readonly memory: BufferPool,
    protected readonly queue: VecQueue,
  ) {}

  /** {@inheritDoc VecSpace.beginRun} */
  beginRun(): void {
    this.ofRun.clear();
  }

  /** {@inheritDoc VecSpace.endStep} */
  endStep(keep: readonly Vec[]): void {
    const kept = new Set(keep.map((v) => this.own(v).root));
    for (const v of this.ofRun) if (!kept.has(v)) this.recycle(v);
    // From now on the network may write over its output, so rows that read it are computed now. So are rows of which no
    // result is alive any more: there is nothing to wait for.
    const foreign = (v: GpuVec) => v.place && !v.place.block.pool;
    const { waiting } = this;
    if (waiting.some((row) => inputsOf(row).some(foreign)) || !waiting.some(({ out }) => out.alive)) this.compute();
  }

  /** {@inheritDoc VecSpace.release} */
  release(v: Vec): void {
    this.recycle(this.own(v).root);
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
    this.waiting = [];
    this.memory.dispose();
  }

  /**
   * Computes what waits, `first` at the start of a buffer: in one dispatch where its inputs fit. What is dead is
   * computed only where something alive needs it, and stored only where another dispatch does.
   */
  compute(first?: GpuVec): void {
    if (first ? !first.row : this.waiting.length === 0) return;
    const rows = this.waiting;
    this.waiting = [];
    const lastUse = new Map<GpuVec, number>();
    for (let i = rows.length - 1; i >= 0; i--) {
      const { out } = rows[i];
      if (out.alive || lastUse.has(out)) for (const v of inputsOf(rows[i])) if (!lastUse.has(v)) lastUse.set(v, i);
    }
    const open = () => new Program(this.device.caps.limits.maxStorageBufferBindingSize);
    let program = open();
    rows.forEach((row, i) => {
      if (!row.out.alive && !lastUse.has(row.out)) return;
      if (program.add(row)) return;
      this.run(program, i, lastUse, first);
      program = open();
      program.add(row);
    });
    this.run(program, rows.length, lastUse, first);
    for (const row of rows) {
      row.out.row = undefined;
      for (const block of row.held) block.release();
      if (!row.out.alive) row.out.place?.block.release();
    }
  }

  /** Runs a program whose values are still needed by rows from `next` on. */
  private run(program: Program, next: number, lastUse: ReadonlyMap<GpuVec, number>, first?: GpuVec): void {
    const stored = program.rows.filter(({ out }) => out.alive || (lastUse.get(out) ?? -1) >= next);
    if (stored.length === 0) return;
    stored.sort((a, b) => Number(b.out === first) - Number(a.out === first));
    const size = up4(stored[0].out.length);
    const block = new Block(this.memory.take(4 * size * stored.length), this.memory);
    program.store(stored);
    this.queue.run(program, block.buffer);
    stored.forEach(({ out }, i) => {
      out.place = { block: block.retain(), offset: i * size, stride: out.item };
    });
  }

  private get space(): GpuSpace {
    return this as unknown as GpuSpace;
  }

  private recycle(v: GpuVec): void {
    if (!v.alive || (v.place && !v.place.block.pool)) return;
    v.alive = false;
    this.ofRun.delete(v);
    v.place?.block.release();
  }

  /** A dense vector with a buffer of its own. */
  protected make(length: number, batch: number): GpuVec {
    const block = new Block(this.memory.take(4 * up4(length)), this.memory).retain();
    const v = new GpuVec(this.space, length, batch, { block, offset: 0, stride: length / batch });
    this.ofRun.add(v);
    return v;
  }

  protected own(v: Vec): GpuVec {
    if (!(v instanceof GpuVec) || v.space !== this.space) {
      throw new InvalidArgumentError('GpuSpace: expected a vector of this space, got one of another; read() it first');
    }
    if (!v.root.alive || !v.alive) {
      throw new InvalidArgumentError('GpuSpace: the vector was released, or its step has ended; name it in keep');
    }
    return v;
  }

  /**
   * op(Σ cᵢ·tᵢ + bias) as a row that waits. A sum of many terms goes on from sums of some, which rounds as one would.
   */
  protected later(form: LinearForm, op: RowOp = 'linear', operands: GpuVec[] = [], numbers: number[] = []): GpuVec {
    const { length, batch } = form.like;
    const row = (terms: Row['terms'], bias: number, rest: Pick<Row, 'op' | 'operands' | 'numbers'>): GpuVec => {
      const out = new GpuVec(this.space, length, batch);
      // Held, since their step may end before this is computed; what waits itself is reached through its own row.
      const held = [...terms.map(([v]) => v), ...operands].flatMap(({ root }) => root.place?.block.retain() ?? []);
      out.row = { out, terms, bias, ...rest, held };
      this.waiting.push(out.row);
      this.ofRun.add(out);
      return out;
    };
    let terms = form.nonZero().map(([v, c]): readonly [GpuVec, number] => [this.own(v), c]);
    let { bias } = form;
    while (terms.length + operands.length > ROW_INPUTS) {
      const sum = row(terms.slice(0, ROW_INPUTS), bias, { op: 'linear', operands: [], numbers: [] });
      terms = [[sum, 1], ...terms.slice(ROW_INPUTS)];
      bias = 0;
      sum.alive = false;
      this.ofRun.delete(sum);
    }
    const out = row(terms, bias, { op, operands, numbers });
    if (this.waiting.length >= MAX_ROWS) this.compute(out);
    return out;
  }
}
