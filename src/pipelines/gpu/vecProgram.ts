/** Elementwise updates gathered into programs of one dispatch each: see kernels/vecProgram.wgsl. */
import { VEC_LIMITS, VEC_OPS } from '../../kernels/vec.ts';
import type { Block, GpuVec } from './gpuVec.ts';

/** What may follow a sum; `linear` is the sum alone. */
export type RowOp = Exclude<keyof typeof VEC_OPS, 'load' | 'loadPerItem' | 'push' | 'set' | 'add'> | 'linear';

/** One vector still to be computed: op(Σ cᵢ·tᵢ + bias). */
export interface Row {
  readonly out: GpuVec;
  readonly terms: readonly (readonly [GpuVec, number])[];
  readonly bias: number;
  readonly op: RowOp;
  /** What the operation takes beside the sum. */
  readonly operands: readonly GpuVec[];
  /** Numbers of the operation. */
  readonly numbers: readonly number[];
  /** Memory that must stay until it is computed. */
  readonly held: readonly Block[];
}

/** Terms and operands of one row; longer sums are made of several. */
export const ROW_INPUTS = VEC_LIMITS.buffers;

/** Operations whose operand is one number per item. */
const PER_ITEM: readonly RowOp[] = ['scale', 'threshold'];

/** The vectors a row needs. */
export function inputsOf({ terms, operands }: Row): GpuVec[] {
  return [...terms.map(([v]) => v), ...operands];
}

/** Elements that n take in whole vec4. */
export const up4 = (n: number) => 4 * Math.ceil(n / 4);
const word = new DataView(new ArrayBuffer(4));
/** The bits of an f32. */
const bits = (x: number) => (word.setFloat32(0, x), word.getUint32(0));

/** What one dispatch computes. */
export class Program {
  readonly rows: Row[] = [];
  readonly buffers: GPUBuffer[] = [];
  /** Stored results, in the order in which they lie in the output. */
  readonly stored: Row[] = [];
  private readonly slots = new Map<GpuVec, number>();
  private readonly tape: number[][] = [];
  private item4 = Infinity;

  /** @param bytes largest output */
  constructor(private readonly bytes: number) {}

  /** Adds a row, unless it does not fit: another shape, or more inputs, values or results than a dispatch takes. */
  add(row: Row): boolean {
    const { out } = row;
    const fresh = inputsOf(row).filter((v, i, all) => !this.slots.has(v) && all.indexOf(v) === i);
    const buffers = new Set([...this.buffers, ...fresh.map((v) => v.place!.block.buffer)]);
    const like = this.rows[0]?.out ?? out;
    if (
      buffers.size > VEC_LIMITS.buffers ||
      this.slots.size + fresh.length >= VEC_LIMITS.slots ||
      this.tape.length + fresh.length + row.terms.length + 3 > VEC_LIMITS.tape ||
      (this.rows.length > 0 && (this.rows.length + 1) * 4 * up4(out.length) > this.bytes) ||
      like.length !== out.length ||
      like.batch !== out.batch
    )
      return false;
    for (const v of fresh) this.load(v, PER_ITEM.includes(row.op) && row.operands.includes(v));
    const slot = (v: GpuVec) => this.slots.get(v)!;
    this.tape.push([VEC_OPS.set, bits(row.bias)]);
    for (const [v, c] of row.terms) this.tape.push([VEC_OPS.add, bits(c), slot(v)]);
    const { op, operands, numbers } = row;
    const at = operands.map(slot);
    if (op === 'errorSum' || op === 'errorMax')
      this.tape.push([VEC_OPS[op], at[0] + VEC_LIMITS.slots * at[1], ...numbers.map(bits)]);
    else if (op !== 'linear') this.tape.push([VEC_OPS[op], ...at, ...numbers.map(bits)]);
    this.tape.push([VEC_OPS.push]);
    this.rows.push(row);
    this.slots.set(out, this.slots.size);
    return true;
  }

  /** Says which results are stored, in order. */
  store(rows: readonly Row[]): void {
    const pushes = this.tape.filter(([op]) => op === VEC_OPS.push);
    rows.forEach((row, i) => pushes[this.rows.indexOf(row)].push(1, (i * up4(row.out.length)) / 4));
    this.stored.push(...rows);
  }

  /** Parameters of vecProgram, and its tape. */
  get call(): { params: Record<string, number>; tape: Uint32Array<ArrayBuffer> } {
    const { length, batch, item } = this.rows[0].out;
    const n4 = up4(length) / 4;
    const tape = new Uint32Array(4 * this.tape.length);
    this.tape.forEach((words, i) => tape.set(words, 4 * i));
    const params = { n4, item4: Math.min(n4, this.item4), item, batch, count: this.tape.length };
    return { params, tape };
  }

  /**
   * A row's input, or one number per item. Where an input has gaps its items are whole vec4, and so are all others'.
   */
  private load(v: GpuVec, perItem: boolean): void {
    const { block, offset, stride } = v.place!;
    let at = this.buffers.indexOf(block.buffer);
    if (at < 0) at = this.buffers.push(block.buffer) - 1;
    if (!perItem && !v.dense) this.item4 = v.item / 4;
    this.tape.push(perItem ? [VEC_OPS.loadPerItem, at] : [VEC_OPS.load, at, offset / 4, stride / 4]);
    this.slots.set(v, this.slots.size);
  }
}
