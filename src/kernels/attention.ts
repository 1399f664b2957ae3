/**
 * Scaled dot-product attention, in four algorithms: `row`, one invocation per query, `block`, one workgroup per few
 * queries, and `tile`, one per many, never hold the scores; `matrix` writes them out, and is the fastest where a
 * processor plays the GPU. Subgroup matrices, where there are any, multiply tiles of halves.
 */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  LimitError,
  ShapeError,
  storedElements,
} from '../engine/index.ts';
import type { Op, Tensor } from '../engine/index.ts';
import blockShader from './attentionBlock.wgsl';
import { attentionMatrixKernel, matrixWays, usualMatrixWay } from './attentionMatrices.ts';
import { lowerMatrix } from './attentionPasses.ts';
import rowShader from './attentionRow.wgsl';
import { lowerTile, TILE_D4, tileWays, usualTileWay } from './attentionTiles.ts';
import { ceilDiv, expectRank, expectSame, near, rowsOf } from './common.ts';
import { reshape } from './copyRows.ts';
import { canShare, eightsOf, usualEights } from './eights.ts';

/** Widest head, in vec4, that the row algorithm keeps in registers. */
const ROW_D4 = 32;
/** Widest head, in vec4: one column per invocation of the largest workgroup that every adapter has. */
const MAX_D4 = 256;

/** The algorithms by name. */
export const ATTENTION_ALGORITHMS = ['row', 'block', 'tile', 'matrix'] as const;
/**
 * `row` for heads of up to 128 channels, `tile` of up to 512, `block` for any, `matrix` where a processor plays the
 * GPU.
 */
export type AttentionAlgorithm = (typeof ATTENTION_ALGORITHMS)[number];

/** One invocation per query and head, online softmax in registers; heads of up to 128 channels. */
export const attentionRowKernel = defineKernel({
  shader: rowShader,
  tunables: {
    WG: [64, 32, 128],
    ROWS: [1, 2, 4],
    // Given by the shape, 1 … ROW_D4; these stand for all when every variant is compiled.
    D4: [8, 1, 10, ROW_D4],
    HAS_MASK: [false, true],
  },
  grid: ({ T, heads, B }, t) => [ceilDiv(T, t.WG * t.ROWS), heads, B],
});

/** One workgroup per 4·ROW4 queries of a head, online softmax over blocks of keys; heads of up to 1024 channels. */
export const attentionBlockKernel = defineKernel({
  shader: blockShader,
  tunables: { WG: [64, 32, 128, 256], ROW4: [1, 2, 4], HAS_MASK: [false, true] },
  grid: ({ T, heads, B }, t) => [ceilDiv(T, 4 * t.ROW4), heads, B],
  valid: (t, { limits }) =>
    t.WG <= limits.maxComputeInvocationsPerWorkgroup && 16 * t.WG * t.ROW4 <= limits.maxComputeWorkgroupStorageSize,
});

/** What {@link attentionOp} is told beside its inputs. */
export interface AttentionAttrs {
  heads: number;
  scale: number;
  /** Forces an algorithm; default: by shape and adapter. */
  algorithm?: AttentionAlgorithm;
  /** Of `matrix`. */
  scoreBytes?: number;
  /** Channels in front of q, k or v where it is part of wider rows [B,T|S,W]. */
  parts?: Readonly<Partial<Record<'q' | 'k' | 'v', number>>>;
}

/**
 * Inputs q, k, v and perhaps mask; q, k, v, where they are no parts of wider rows, and the result are [B,T|S,heads,d].
 * Vaswani et al. 2017, section 3.2.1.
 */
export const attentionOp: Op<AttentionAttrs> = {
  name: 'attention',
  lower(node, to) {
    const { q, k, v, mask } = node.inputs;
    const [B, T, heads, d] = node.output.shape;
    const S = k!.shape[1];
    const D4 = ceilDiv(d, 4);
    const [q4, k4, v4] = [q, k, v].map((t) => storedElements(t!) / (4 * t!.shape[0] * t!.shape[1]));
    const [qAt, kAt, vAt] = (['q', 'k', 'v'] as const).map((name) => (node.attrs.parts?.[name] ?? 0) / 4);
    const stride = mask ? (mask.layout === 'dense' ? S : 4 * ceilDiv(S, 4)) : 0;
    const [mb, mh, mt] = mask ? perHead(mask.shape) : [1, 1, 1];
    const maskRow = mt > 1 ? stride : 0;
    const maskHead = mh > 1 ? stride * mt : 0;
    const maskBatch = mb > 1 ? stride * mt * mh : 0;
    const { scale, algorithm } = node.attrs;
    const params = { B, T, S, heads, scale, maskRow, maskHead, maskBatch, q4, qAt, k4, kAt, v4, vAt };
    const HAS_MASK = mask !== undefined;
    const bindings = { q: q!, k: k!, v: v!, mask, out: node.output };
    const flops = 4 * B * heads * T * S * d;
    const ways: Record<string, () => void> = {
      block() {
        const WG = [32, 64, 128, 256].find((wg) => wg >= D4)!;
        to.dispatch({
          ...{ kernel: attentionBlockKernel, tunables: { WG, HAS_MASK }, params: { ...params, D4 } },
          ...{ bindings, flops },
        });
      },
    };
    if (D4 <= ROW_D4) {
      ways.row = () => {
        to.dispatch({ kernel: attentionRowKernel, tunables: { D4, HAS_MASK }, params, bindings, flops });
      };
    }
    const tiles = tileWays({ B, T, S, heads, D4 }, to.caps);
    for (const [name, way] of Object.entries(tiles)) {
      ways[name] = () => lowerTile(to, way, { ...params, D4 }, bindings, flops);
    }
    // What is multiplied must be halves as it stands.
    const matrices = to.graph.dtype === 'f16' ? matrixWays(T, D4, to.caps) : {};
    for (const [name, tunables] of Object.entries(matrices)) {
      ways[name] = () => {
        const kernel = attentionMatrixKernel;
        to.dispatch({ kernel, tunables: { ...tunables, HAS_MASK }, params, bindings, flops });
      };
    }
    const shared = canShare(to.caps) && T >= 4;
    for (const eights of shared ? eightsOf(to.caps) : [0]) {
      ways[`matrix ${eights}`] = () => lowerMatrix(node, to, { ...params, D4 }, eights);
    }
    const matrix = `matrix ${shared ? usualEights(T, to.caps.subgroupSize) : 0}`;
    const tile = usualTileWay(tiles, S) ?? 'block';
    if (algorithm) return ways[{ row: 'row', block: 'block', tile, matrix }[algorithm]]();
    const onGpu = usualMatrixWay(matrices, T, B * heads) ?? usualOnGpu(T, D4, tile);
    const usual = to.caps.software ? matrix : onGpu;
    const here = to.caps.software ? /^matrix [234]$/ : onGpu === tile ? LARGE : /^matrices /;
    const worth = Object.keys(ways).filter(
      (name) => name === usual || here.test(name) || (!to.caps.software && worthOnGpu(name, tile, T, B * heads)),
    );
    to.choose(`${near(B * heads)}x${near(T)}x${near(S)} ${d}`, ways, usual, worth);
  },
  readPart(node, name, from, at) {
    const [, , , d] = node.output.shape;
    if ((name !== 'q' && name !== 'k' && name !== 'v') || d % 4 !== 0 || at % 4 !== 0) return undefined;
    const [B, rows] = node.inputs[name]!.shape;
    // Rows of single heads are none of [B,T|S,W].
    if (rowsOf(from) !== B * rows) return undefined;
    const part = from.graph.view(from, [B, rows, from.shape.at(-1)!]);
    const parts = { ...node.attrs.parts, [name]: (node.attrs.parts?.[name] ?? 0) + at };
    return { ...node, inputs: { ...node.inputs, [name]: part }, attrs: { ...node.attrs, parts } };
  },
};

/** Up to so many queries, `block` takes all or nearly all of them at a time. */
const FEW = 8;
/** Queries of all heads that fill a card with an invocation each. */
const MANY_ROWS = 16384;

/**
 * What is fastest on GPUs, by and large. A processor, on the other hand, pays for every barrier and has no idle lanes,
 * so it writes the scores out.
 */
function usualOnGpu(T: number, D4: number, tile: string): string {
  if (T <= FEW) return 'block';
  return tile === 'block' && D4 <= ROW_D4 && T >= 64 ? 'row' : tile;
}

/** Tiles that may be fastest whatever counting says. */
const LARGE = /^tile (64x32|32x64|32x80|64x16)$/;

/**
 * Whether another way is worth the time to measure it: the usual tiles, with the keys in parts or whole; `block`, which
 * reads all keys once per four queries, for few; `row` for so many queries that they fill a card.
 */
function worthOnGpu(name: string, tile: string, T: number, heads: number): boolean {
  if (name === 'row') return T * heads >= MANY_ROWS;
  return name === 'block' ? T < 64 : name.replace(' in parts', '') === tile.replace(' in parts', '');
}

/** Heads, and what has defaults. */
export interface AttentionOptions {
  heads: number;
  /** Of the scores; default 1/√d. */
  scale?: number;
  /**
   * Added to the scores, f32 [B or 1, T or 1, S], or [B or 1, heads or 1, T or 1, S]; −∞ counts as −10³⁰, so a row
   * masked throughout averages all keys.
   */
  mask?: Tensor;
  /** Default: by shape and adapter. */
  algorithm?: AttentionAlgorithm;
  /** Bytes of scores that `matrix` may write out at once; default 32 MiB. */
  scoreBytes?: number;
}

/**
 * softmax(scale·q kᵀ + mask)·v per head (Vaswani et al. 2017, equation 1); q [B,T,heads·d], k, v [B,S,heads·d] →
 * [B,T,heads·d], d from 1 to 1024. Heads whose width is no multiple of four are copied apart first, so that each starts
 * on a vec4.
 * @throws ShapeError when shapes, heads or mask do not fit; LimitError for a wider head; InvalidArgumentError for an
 * unknown algorithm.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  const { heads, mask, algorithm, scoreBytes } = options;
  expectRank('attention', 'q', q, 3, '[B,T,heads·d]');
  const [B, T, width] = q.shape;
  expectRank('attention', 'k', k, 3, '[B,S,heads·d]');
  const S = k.shape[1];
  expectSame('attention', 'k', k, [B, S, width]);
  expectSame('attention', 'v', v, [B, S, width]);
  if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) {
    throw new ShapeError(
      `attention: expected heads to divide the width ${width}, got ${heads} (q ${formatShape(q.shape)})`,
    );
  }
  const d = width / heads;
  if (d > 4 * MAX_D4) {
    throw new LimitError(`attention: expected a head of at most ${4 * MAX_D4} channels, got ${d}; use more heads`);
  }
  if (algorithm && !ATTENTION_ALGORITHMS.includes(algorithm)) {
    throw new InvalidArgumentError(`attention: expected one of ${ATTENTION_ALGORITHMS.join(', ')}, got ${algorithm}`);
  }
  const widest = { row: 4 * ROW_D4, tile: 4 * TILE_D4, block: 4 * MAX_D4, matrix: 4 * MAX_D4 }[algorithm ?? 'block'];
  if (d > widest) {
    throw new LimitError(`attention: the ${algorithm} algorithm takes heads of at most ${widest} channels, got ${d}`);
  }
  if (mask) expectMask(mask, B, heads, T, S);
  const apart = (t: Tensor) => reshape(t, [t.shape[0], t.shape[1], heads, d]);
  const inputs = { q: apart(q), k: apart(k), v: apart(v), mask };
  const attrs = { heads, scale: options.scale ?? 1 / Math.sqrt(d), algorithm, scoreBytes };
  return reshape(q.graph.record(attentionOp, inputs, attrs, [B, T, heads, d]), [B, T, width]);
}

function expectMask(mask: Tensor, B: number, heads: number, T: number, S: number): void {
  const [b, h, t, s] = perHead(mask.shape);
  const among = (n: number, all: number) => n === all || n === 1;
  const fits = mask.shape.length < 5 && among(b, B) && among(h, heads) && among(t, T) && s === S;
  if (!fits || mask.dtype !== 'f32') {
    throw new ShapeError(
      `attention: expected an f32 mask [${B} or 1,${heads} or 1,${T} or 1,${S}], ` +
        `got ${mask.dtype} ${formatShape(mask.shape)}`,
    );
  }
}

/** A mask's shape with a dimension for heads, of which masks mostly have one. */
const perHead = (shape: readonly number[]) => (shape.length === 3 ? [shape[0], 1, shape[1], shape[2]] : shape);
