/**
 * Recording. A model's forward runs once per shape on symbolic tensors; every call of an op appends a node. The engine
 * knows no op by name: an op brings its own shape rule (it checks before it records) and its own lowering.
 */
import { ShapeError } from './errors.ts';
import type { Lowering } from './lower.ts';

/** How a tensor's elements are stored. */
export type DType = 'f32' | 'f16' | 'u32';

/**
 * `rows`: the last dimension is padded with zeros to a multiple of four, so that every row starts on a vec4 boundary.
 * `dense`: elements in plain row-major order, as the public edge has them.
 */
export type Layout = 'rows' | 'dense';

/** A symbolic tensor: what will be in a buffer, not the buffer. */
export interface Tensor {
  readonly id: number;
  readonly graph: Graph;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly layout: Layout;
  readonly label: string;
  /** Set for a free view: the tensor whose bytes it shows under another shape. */
  readonly viewOf?: Tensor;
  /** Set for a weight. */
  readonly constant?: Constant;
}

/**
 * Turns a checkpoint tensor into the bytes a kernel wants, in equal blocks that can be made one after the other, so
 * that loading never holds a second copy of a large tensor. `id` tells two packings of one key apart.
 */
export interface Packing {
  readonly id: string;
  /** Shape of the packed tensor, in elements, from the checkpoint's shape. */
  shape(from: readonly number[]): readonly number[];
  /** How many blocks the packed tensor consists of. */
  blocks(from: readonly number[]): number;
  /**
   * Writes blocks `first` … `last` − 1 of row-major `data` of shape `from` to the start of `out`, which is zero there.
   */
  pack(data: Float32Array, from: readonly number[], first: number, last: number, out: Float32Array): void;
  /** Only these rows of the first dimension are needed (tables too large for one binding). */
  readonly rows?: readonly [number, number];
}

/** A weight as a recording uses it: which checkpoint tensor, and how its elements are laid out. */
export interface Constant {
  readonly key: string;
  /** Shape in the checkpoint. */
  readonly shape: readonly number[];
  readonly packing: Packing;
  /** Of several weights in one tensor, made by {@link Graph.join}; then the fields above only name it. */
  readonly parts?: readonly ConstantPart[];
}

/** One weight of several in one tensor: its block b starts `at + b·stride` elements from the start. */
export interface ConstantPart {
  readonly constant: Constant;
  readonly at: number;
  readonly stride: number;
}

/** An operation: its name for labels and profiles, and how it becomes dispatches. */
export interface Op<A = unknown> {
  readonly name: string;
  /** Asks for the dispatches that compute the node. @throws LimitError as {@link Lowering.dispatch} does. */
  lower(node: Node<A>, to: Lowering): void;
  /**
   * The same node, but reading its input `name` out of wider rows, from channel `at` of `from` on; undefined where it
   * cannot. An op that never can has no such function.
   */
  readPart?(node: Node<A>, name: string, from: Tensor, at: number): Node<A> | undefined;
}

/** One recorded call. */
export interface Node<A = unknown> {
  readonly op: Op<A>;
  readonly inputs: Readonly<Record<string, Tensor | undefined>>;
  readonly attrs: A;
  readonly output: Tensor;
  /** `down_blocks.0/resnets.1/conv1`: where in the model the call stands. */
  readonly label: string;
}

/** A weight as the model names it, before an op decides how it is packed. */
export interface Weight {
  readonly key: string;
  readonly shape: readonly number[];
  /** Where these are only rows of the first dimension: which, and the shape that the checkpoint has. */
  readonly part?: { readonly rows: readonly [number, number]; readonly of: readonly number[] };
  /** What every value is multiplied with; default 1. */
  readonly factor?: number;
}

/** Rows `start` … `end` − 1 of a weight's first dimension, which are all that is read and kept of it. */
export function weightRows({ shape, ...weight }: Weight, start: number, end: number): Weight {
  return { ...weight, shape: [end - start, ...shape.slice(1)], part: { rows: [start, end], of: shape } };
}

/** Elements of a shape. */
export function numel(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** A shape as messages show it: `[1,64,64,320]`. */
export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(',')}]`;
}

/** Elements that a tensor takes in memory, padding included. */
export function storedElements(t: Pick<Tensor, 'shape' | 'layout'>): number {
  if (t.layout === 'dense') return Math.ceil(numel(t.shape) / 4) * 4;
  const width = t.shape.at(-1) ?? 1;
  return numel(t.shape.slice(0, -1)) * 4 * Math.ceil(width / 4);
}

/** Bytes that a tensor takes in memory. */
export function byteSize(t: Pick<Tensor, 'shape' | 'layout' | 'dtype'>): number {
  return storedElements(t) * (t.dtype === 'f16' ? 2 : 4);
}

/** A recorded computation: inputs, weights, nodes in order, outputs. */
export class Graph {
  /** Calls in the order of recording. */
  readonly nodes: Node[] = [];
  /** Inputs by name. */
  readonly inputs = new Map<string, Tensor>();
  /** Results by name. */
  readonly outputs = new Map<string, Tensor>();
  /** Weights by key, packing and dtype. */
  readonly constants = new Map<string, Tensor>();
  private nextId = 0;
  private path: string[] = [];

  /** @param dtype Storage of activations and of matmul, conv and embedding weights; arithmetic is f32 either way. */
  constructor(readonly dtype: 'f32' | 'f16' = 'f32') {}

  /** Runs `record` with `name` added to the labels of what it records. */
  scope<T>(name: string, record: () => T): T {
    this.path.push(name);
    try {
      return record();
    } finally {
      this.path.pop();
    }
  }

  /**
   * Declares an input; dense f32 unless told otherwise.
   * @throws ShapeError when the name is taken or a dimension is no positive integer.
   */
  input(name: string, shape: readonly number[], options: { dtype?: DType; layout?: Layout } = {}): Tensor {
    if (this.inputs.has(name)) throw new ShapeError(`graph: input ${name} is declared twice`);
    checkShape(name, shape);
    const tensor = this.tensor(shape, options.dtype ?? 'f32', options.layout ?? 'dense', name);
    this.inputs.set(name, tensor);
    return tensor;
  }

  /**
   * The tensor of a weight under one packing; the same key and packing give the same tensor.
   * @throws ShapeError when the key has been used with another shape.
   */
  constant(weight: Weight, packing: Packing, dtype: DType): Tensor {
    const { key, part, factor = 1 } = weight;
    const shape = part?.of ?? weight.shape;
    const rows = part ? partOf(packing, part.rows, weight.shape) : packing;
    const laid = factor === 1 ? rows : timesFactor(rows, factor);
    const id = `${key}|${laid.id}|${dtype}`;
    let tensor = this.constants.get(id);
    if (!tensor) {
      tensor = {
        ...this.tensor(packing.shape(weight.shape), dtype, 'dense', key),
        constant: { key, shape, packing: laid },
      };
      this.constants.set(id, tensor);
    } else if (formatShape(tensor.constant!.shape) !== formatShape(shape)) {
      const first = formatShape(tensor.constant!.shape);
      throw new ShapeError(`graph: weight ${key} is used as ${first} and as ${formatShape(shape)}`);
    }
    return tensor;
  }

  /**
   * One tensor of several weights: block by block side by side (`columns`: one matrix of all their columns), or one
   * behind the other (`stack`). A number among the weights stands for as many zeros, in every block of `columns`, once
   * in `stack`.
   * @throws ShapeError unless there is a weight, and all have one dtype and, side by side, as many blocks.
   */
  join(parts: readonly (Tensor | number)[], how: 'columns' | 'stack'): Tensor {
    const weights = parts.filter((part) => typeof part !== 'number');
    const blocksOf = ({ constant }: Tensor) => constant!.packing.blocks(packedFrom(constant!));
    const [first] = weights;
    const dtype = first?.dtype;
    const blocks = first && how === 'columns' ? blocksOf(first) : 1;
    const fits = weights.every((t) => t.dtype === dtype && (how === 'stack' || blocksOf(t) === blocks));
    if (!first || !fits) {
      throw new ShapeError(
        `join: expected weights of one dtype and number of blocks, got ${weights.map((t) => t.label)}`,
      );
    }
    const name = parts.map((t) => (typeof t === 'number' ? `${t}` : `${t.constant!.key}|${t.constant!.packing.id}`));
    const id = `${how}|${name.join('|')}|${dtype}`;
    const known = this.constants.get(id);
    if (known) return known;
    const sizes = parts.map((t) => (typeof t === 'number' ? t : numel(t.shape) / blocks));
    const stride = sizes.reduce((a, b) => a + b, 0);
    const places: ConstantPart[] = [];
    parts.forEach((t, i) => {
      const at = sizes.slice(0, i).reduce((a, b) => a + b, 0);
      if (typeof t === 'number') return;
      places.push({ constant: t.constant!, at, stride: how === 'columns' ? stride : numel(t.shape) / blocksOf(t) });
    });
    const shape = [blocks * stride];
    const packing: Packing = { ...first.constant!.packing, id: how, shape: () => shape, blocks: () => blocks };
    const label = `${first.label} and ${weights.length - 1} more`;
    const constant = { key: name.join('|'), shape, packing, parts: places };
    const tensor = { ...this.tensor(shape, dtype, 'dense', label), constant };
    this.constants.set(id, tensor);
    return tensor;
  }

  /** Names a result; its memory is kept apart from the planned arenas. @throws ShapeError when the name is taken. */
  output(name: string, tensor: Tensor): void {
    if (this.outputs.has(name)) throw new ShapeError(`graph: output ${name} is declared twice`);
    this.outputs.set(name, tensor);
  }

  /**
   * Appends a node and returns its result, in rows and the graph's dtype unless told otherwise. Called by ops, after
   * they have checked their shapes.
   * @throws ShapeError when an input belongs to another graph or a dimension is no positive integer.
   */
  record<A>(
    op: Op<A>,
    inputs: Record<string, Tensor | undefined>,
    attrs: A,
    shape: readonly number[],
    options: { dtype?: DType; layout?: Layout } = {},
  ): Tensor {
    for (const [name, t] of Object.entries(inputs)) {
      if (t && t.graph !== this) throw new ShapeError(`${op.name}: ${name} belongs to another graph`);
    }
    checkShape(op.name, shape);
    const label = [...this.path, op.name].join('/');
    const output = this.tensor(shape, options.dtype ?? this.dtype, options.layout ?? 'rows', label);
    const node: Node<A> = { op, inputs, attrs, output, label };
    this.nodes.push(node as Node);
    return output;
  }

  /**
   * The same bytes under another shape; rows must stay rows of the same padded width.
   * @throws ShapeError when the number of elements or the padding differs.
   */
  view(t: Tensor, shape: readonly number[]): Tensor {
    const same = numel(shape) === numel(t.shape);
    const flat = (s: readonly number[]) => (s.at(-1) ?? 1) % 4 === 0;
    const free = t.layout === 'dense' || shape.at(-1) === t.shape.at(-1) || (flat(shape) && flat(t.shape));
    if (!same || !free) {
      throw new ShapeError(
        `view: ${formatShape(t.shape)} cannot be seen as ${formatShape(shape)}; ` +
          (same ? 'rows are padded to four elements, use reshape' : 'the number of elements differs'),
      );
    }
    return { ...this.tensor(shape, t.dtype, t.layout, t.label), viewOf: rootOf(t) };
  }

  /** A tensor that no node writes yet; for rewrites. */
  tensor(shape: readonly number[], dtype: DType, layout: Layout, label: string): Tensor {
    return { id: this.nextId++, graph: this, shape, dtype, layout, label };
  }
}

/** Shape of the part of a checkpoint's tensor that a packing wants. */
export function packedFrom({ shape, packing }: Constant): readonly number[] {
  return packing.rows ? [packing.rows[1] - packing.rows[0], ...shape.slice(1)] : shape;
}

/** The same packing of some rows only, which have `shape`. */
function partOf(packing: Packing, rows: readonly [number, number], shape: readonly number[]): Packing {
  return { ...packing, id: `${packing.id} ${rows.join('-')}`, rows, shape: () => packing.shape(shape) };
}

/** The same packing of values that are multiplied with a factor. */
function timesFactor(packing: Packing, factor: number): Packing {
  return {
    ...packing,
    id: `${packing.id} ×${factor}`,
    pack(data, from, first, last, out) {
      packing.pack(data, from, first, last, out);
      for (let i = 0; i < out.length; i++) out[i] *= factor;
    },
  };
}

/** The tensor that owns the bytes. */
export function rootOf(t: Tensor): Tensor {
  return t.viewOf ?? t;
}

function checkShape(where: string, shape: readonly number[]): void {
  if (!shape.every((d) => Number.isInteger(d) && d > 0)) {
    throw new ShapeError(`${where}: expected positive integer dimensions, got ${formatShape(shape)}`);
  }
}
