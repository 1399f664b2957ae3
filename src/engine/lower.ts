/** Lowering: nodes become dispatches over symbolic tensors. No GPU object exists yet. */
import type { Capabilities } from './device.ts';
import { InvalidArgumentError, LimitError, ShapeError } from './errors.ts';
import {
  byteSize,
  formatShape,
  rootOf,
  type DType,
  type Graph,
  type Layout,
  type Node,
  type Packing,
  type Tensor,
} from './graph.ts';
import { defaultTunables, MAX_GROUPS, storageModule, type Kernel, type Params } from './kernel.ts';
import type { StorageModule, Tunables, TunableValue } from './shader.ts';

/**
 * What a dispatch that only copies does: `out` is the bytes of `parts` one behind the other (`join`), or those of one,
 * from byte `at` on (`cut`). It can be left out where the bytes lie there already.
 */
export interface Copies {
  readonly kind: 'join' | 'cut';
  /** Bindings that are read. */
  readonly parts: readonly string[];
  readonly at?: number;
}

/** One call of a kernel. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly storage: StorageModule;
  readonly tunables: Tunables;
  readonly params: Params;
  /** Tensor per binding name; one without is bound to 16 bytes of zeros, and reads beyond their end yield zeros too. */
  readonly bindings: Readonly<Record<string, Tensor | undefined>>;
  readonly grid: readonly [number, number, number];
  readonly label: string;
  /** Multiply–adds × 2, for bounding submits and for rates. */
  readonly flops: number;
  /** As in {@link DispatchRequest}. */
  readonly inPlace?: string;
  readonly copies?: Copies;
  readonly either?: readonly string[];
}

/** One call of a kernel as an op asks for it. */
export interface DispatchRequest {
  kernel: Kernel;
  /** Other values than the defaults, by the names of the `const`s. */
  tunables?: Record<string, TunableValue>;
  params?: Params;
  /** Tensor per binding name; undefined for one that is switched off. */
  bindings: Record<string, Tensor | undefined>;
  /** Multiply–adds × 2; default 0. */
  flops?: number;
  /** Storage of `Elem4`; default: the graph's dtype. */
  dtype?: 'f32' | 'f16';
  /**
   * Binding that `out` may take the place of: with `IN_PLACE` the kernel reads element i of it from `out`, then writes
   * it.
   */
  inPlace?: string;
  /** What the dispatch comes to where it only copies. */
  copies?: Copies;
  /**
   * Switches that change nothing here, with these bindings and parameters: a shader that has them on serves as well.
   */
  either?: readonly string[];
}

/** Ways chosen by measurement: the name of the way, by the key of the place where there is a choice. */
export type Choices = Pick<ReadonlyMap<string, string>, 'get'>;

/** A place where a node could be computed in several ways. */
export interface ChoicePlace {
  /** Op, storage type and class of shapes: places of one key share one choice. */
  key: string;
  node: Node;
  /** Those worth measuring, and all that there are. */
  ways: readonly string[];
  offered: readonly string[];
  /** What is taken where nothing has been measured. */
  usual: string;
}

/** How to lower: the choices made so far, and a listener for places where there is a choice. */
export interface LowerOptions {
  choices?: Choices;
  onChoice?: (place: ChoicePlace) => void;
}

/** What an op's `lower` may do. */
export interface Lowering {
  readonly graph: Graph;
  readonly caps: Capabilities;
  /**
   * Takes one of several ways to compute the node: the one measured to be fastest for `shapes`, else `usual`.
   * @param shapes names the class of shapes that share a choice.
   * @param worth which ways are worth measuring; default: all.
   */
  choose(shapes: string, ways: Readonly<Record<string, () => void>>, usual: string, worth?: readonly string[]): void;
  /** A weight under another packing than it was recorded with; only what dispatches bind is loaded. */
  packed(weight: Tensor, packing: Packing): Tensor;
  /** Appends a dispatch. @throws as {@link makeDispatch}. */
  dispatch(request: DispatchRequest): void;
  /** Another node's dispatches at this place, under its own label; it has choices of its own. */
  lower(node: Node): void;
  /** A tensor that lives only between dispatches of this graph. */
  scratch(shape: readonly number[], dtype: DType, layout?: Layout): Tensor;
}

/**
 * All dispatches of the nodes, in order.
 * @throws LimitError when a binding or a grid exceeds what the device has.
 */
export function lowerNodes(
  graph: Graph,
  nodes: readonly Node[],
  caps: Capabilities,
  { choices, onChoice }: LowerOptions = {},
): Dispatch[] {
  const dispatches: Dispatch[] = [];
  let nextScratch = -1;
  let label = '';
  let lowered: Node;
  const lowering: Lowering = {
    graph,
    caps,
    scratch: (shape, dtype, layout = 'rows') => ({ id: nextScratch--, graph, shape, dtype, layout, label }),
    dispatch(request) {
      dispatches.push(makeDispatch(request, label, graph.dtype, caps));
    },
    choose(shapes, ways, usual, worth = Object.keys(ways)) {
      const key = `${lowered.op.name} ${graph.dtype} ${shapes}`;
      onChoice?.({ key, node: lowered, ways: worth, offered: Object.keys(ways), usual });
      (ways[choices?.get(key) ?? usual] ?? ways[usual])();
    },
    packed({ constant, dtype }, packing) {
      return graph.constant(constant!, packing, dtype);
    },
    lower(node) {
      const outer = [lowered, label] as const;
      [lowered, label] = [node, node.label];
      node.op.lower(node, lowering);
      [lowered, label] = outer;
    },
  };
  for (const node of nodes) lowering.lower(node);
  return dispatches;
}

/**
 * Completes one request by defaults and grid, and checks it.
 * @param label Where in the model it stands, for messages.
 * @throws InvalidArgumentError for tunables that cannot run here or an unknown binding; ShapeError for a binding of
 * another dtype; LimitError when a binding or the grid exceeds what the device has.
 */
export function makeDispatch(
  request: DispatchRequest,
  label: string,
  dtype: 'f32' | 'f16',
  caps: Capabilities,
): Dispatch {
  const { kernel, params = {}, bindings } = request;
  const tunables = { ...defaultTunables(kernel), ...request.tunables };
  const numbers = tunables as Record<string, number>;
  const elem = request.dtype ?? dtype;
  if (kernel.valid && !kernel.valid(numbers, caps)) {
    throw new InvalidArgumentError(`${label}: ${kernel.name} cannot run with ${JSON.stringify(tunables)} here`);
  }
  for (const b of kernel.shader.bindings) {
    if (b.access === 'uniform') continue;
    const t = bindings[b.name];
    if (!t) continue;
    if (b.element === 'Elem4' && t.dtype !== elem) {
      throw new ShapeError(
        `${label}: ${kernel.name} binds ${b.name} as ${elem}, got ${t.dtype} ${formatShape(t.shape)}`,
      );
    }
    const bytes = byteSize(rootOf(t));
    if (bytes > caps.limits.maxStorageBufferBindingSize) {
      throw new LimitError(
        `${label}: ${b.name} ${formatShape(t.shape)} takes ${mib(bytes)}, a binding holds ` +
          `${mib(caps.limits.maxStorageBufferBindingSize)}; use a smaller size or batch, dtype: 'f16', or limits: 'raised'`,
      );
    }
  }
  const stray = Object.keys(bindings).find((name) => !kernel.shader.bindings.some((b) => b.name === name));
  if (stray) throw new InvalidArgumentError(`${label}: ${kernel.name}.wgsl has no binding ${stray}`);
  const grid = kernel.grid(params as Record<string, number>, numbers);
  if (grid.some((g) => !(g >= 1 && g <= MAX_GROUPS))) {
    throw new LimitError(
      `${label}: ${kernel.name} asks for a grid of ${grid.join(' × ')} workgroups, 65535 is the limit`,
    );
  }
  return {
    kernel,
    storage: storageModule(elem, caps),
    tunables,
    params,
    bindings,
    grid,
    label,
    flops: request.flops ?? 0,
    inPlace: request.inPlace,
    copies: request.copies,
    either: request.either,
  };
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
