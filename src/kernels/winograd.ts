/** 3×3 convolutions by minimal filtering: F(2×2, 3×3) with 2.25 times, F(4×4, 3×3) with 4 times fewer products. */
import { defineKernel, linearGrid, type Lowering, type Node, type Packing } from '../engine/index.ts';
import { chunksInTiles, leaveStats } from './channelStats.ts';
import { ceilDiv, width4 } from './common.ts';
import type { Conv2dAttrs } from './conv2d.ts';
import { CONV_NORM, CONV_OUT, convFlops, convNorm, convOut } from './convOut.ts';
import { SHARED, sharesHere } from './eights.ts';
import { groupNormAffine } from './groupNorm.ts';
import { STRIP } from './packing.ts';
import input2Shader from './winograd2Input.wgsl';
import output2Shader from './winograd2Output.wgsl';
import input4Shader from './winograd4Input.wgsl';
import output4Shader from './winograd4Output.wgsl';
import productShader from './winogradProduct.wgsl';
import productSubgroupShader from './winogradProductSubgroup.wgsl';

/** Pixels along the edge of an output tile. */
export type WinogradTile = 2 | 4;

/** FIXED where the compiler is a GPU's, which unrolls. */
const inputKernel = (shader: typeof input2Shader) =>
  defineKernel({
    shader,
    tunables: { WG: [64, 8, 32, 128], FIXED: [false, true], ...CONV_NORM },
    grid: ({ tiles, A4 }, t) => linearGrid(ceilDiv(tiles * A4, t.WG)),
  });

const outputKernel = (shader: typeof output2Shader, more: { STATS?: boolean[] } = {}) =>
  defineKernel({
    shader,
    tunables: { WG: [64, 8, 32, 128], FIXED: [false, true], ACT: CONV_OUT.ACT, ...more },
    grid: ({ tiles, O4 }, t) => linearGrid(ceilDiv(tiles * O4, t.WG)),
  });

/** First of three passes: tiles of the input, transformed. */
export const winograd2InputKernel = inputKernel(input2Shader);
export const winograd4InputKernel = inputKernel(input4Shader);

/** Third pass: tiles of the output, with everything after the convolution. */
export const winograd2OutputKernel = outputKernel(output2Shader);
export const winograd4OutputKernel = outputKernel(output4Shader, { STATS: [false, true] });

/** Second pass: a matrix product per place in a tile; ROWS tiles × one vec4 of channels per invocation. */
export const winogradProductKernel = defineKernel({
  shader: productShader,
  tunables: { ROWS: [4, 1, 2, 8], WG_O: [8, 4, 16, 32], WG_T: [8, 1, 4, 16] },
  grid: ({ tiles, O4, places }, t) => [ceilDiv(O4, t.WG_O), ceilDiv(tiles, t.ROWS * t.WG_T), places],
  valid: (t, { limits }) => t.WG_O * t.WG_T <= limits.maxComputeInvocationsPerWorkgroup,
});

/** The same with tiles shared in a subgroup. */
export const winogradProductSubgroupKernel = defineKernel({
  shader: productSubgroupShader,
  tunables: SHARED,
  grid: ({ tiles, O4, places }, t) => [ceilDiv(tiles, 8 * t.EIGHTS), ceilDiv(O4, t.SG), places],
  valid: sharesHere,
});

const up4 = (n: number) => 4 * Math.ceil(n / 4);

/** The row of G at point x: what three taps become there. */
const atPoint = (x: number, others: readonly number[]): readonly [number, number, number] => {
  const n = others.reduce((product, y) => product * (x - y), 1);
  return [1 / n, x / n, (x * x) / n];
};

/**
 * G of F(m, 3), row by row. With 0, ±3/4, ±3/2 and ∞ the root mean square error of F(4×4, 3×3) over 128 channels is
 * 1.2·10⁻⁶ of the result's deviation; it is 2.2·10⁻⁶ with the usual 0, ±1, ±2 and ∞, 3.7·10⁻⁷ for F(2×2, 3×3) and
 * 6·10⁻⁷ where products are added one after the other: `npm test -- test/kernels/winogradError.test.ts`.
 */
const FILTER_TRANSFORMS: Record<WinogradTile, readonly (readonly [number, number, number])[]> = {
  2: [
    [1, 0, 0],
    [1 / 2, 1 / 2, 1 / 2],
    [1 / 2, -1 / 2, 1 / 2],
    [0, 0, 1],
  ],
  4: [
    atPoint(0, [0.75, -0.75, 1.5, -1.5]),
    atPoint(0.75, [0, -0.75, 1.5, -1.5]),
    atPoint(-0.75, [0, 0.75, 1.5, -1.5]),
    atPoint(1.5, [0, 0.75, -0.75, -1.5]),
    atPoint(-1.5, [0, 0.75, -0.75, 1.5]),
    [0, 0, 1],
  ],
};

/**
 * [O, I, 3, 3] → [Q, O/4/STRIP, I/4, STRIP, 4 (i), 4 (o)]: transformed weights G g Gᵀ, for each of the Q places of
 * a tile a matrix; the last strip may be narrower. A block is one place.
 */
function packWinograd(tile: WinogradTile): Packing {
  const edge = tile + 2;
  const places = edge ** 2;
  const G = Float64Array.from(FILTER_TRANSFORMS[tile].flat());
  return {
    id: `winograd${tile}`,
    shape: ([O, I]) => [places * up4(I), up4(O)],
    blocks: () => places,
    pack(data, [O, I], first, last, out) {
      const size = up4(I) * up4(O);
      for (let i4 = 0; i4 < up4(I) / 4; i4++) {
        // Four by four filters at a time: at each place they fill 64 bytes in a row.
        for (let o4 = 0; o4 < O; o4 += 4) {
          const strip = o4 - (o4 % (4 * STRIP));
          const width = Math.min(4 * STRIP, up4(O) - strip);
          const block = strip * up4(I) + 4 * i4 * width + 4 * (o4 - strip);
          for (let o = o4; o < Math.min(o4 + 4, O); o++) {
            for (let i = 4 * i4; i < Math.min(4 * i4 + 4, I); i++) {
              const g = (o * I + i) * 9;
              let at = block + 4 * (i & 3) + (o & 3);
              for (let place = first; place < last;) {
                const r = Math.floor(place / edge);
                const [x, y, z] = [G[3 * r], G[3 * r + 1], G[3 * r + 2]];
                const a = x * data[g] + y * data[g + 3] + z * data[g + 6];
                const b = x * data[g + 1] + y * data[g + 4] + z * data[g + 7];
                const c = x * data[g + 2] + y * data[g + 5] + z * data[g + 8];
                const end = Math.min(last, (r + 1) * edge);
                for (let s = 3 * (place - r * edge); place < end; place++, s += 3, at += size) {
                  out[at] = a * G[s] + b * G[s + 1] + c * G[s + 2];
                }
              }
            }
          }
        }
      }
    },
  };
}

const PACKINGS = { 2: packWinograd(2), 4: packWinograd(4) };

/**
 * The tiles by which minimal filtering can compute a convolution: 3×3 taps next to each other, one pixel apart, whose
 * transformed weights fit one binding. Tiles of four cancel too much for weights that are stored in halves.
 */
export function winogradTiles({ R, S, stride, dilation, I, O }: Conv2dAttrs, to: Lowering): WinogradTile[] {
  if (R !== 3 || S !== 3 || stride !== 1 || dilation !== 1) return [];
  const isHalf = to.graph.dtype === 'f16';
  const bytes = (isHalf ? 2 : 4) * up4(I) * up4(O);
  const fits = (tile: WinogradTile) => (tile + 2) ** 2 * bytes <= to.caps.limits.maxStorageBufferBindingSize;
  return (isHalf ? ([2] as const) : ([2, 4] as const)).filter(fits);
}

/** Bytes of transformed tiles that are held at once; more tiles take several rounds. */
const ROUND_BYTES = 32 * 2 ** 20;

/**
 * Three dispatches per round of tiles: transform the input, multiply, transform back. A norm in front of the
 * convolution is computed in the first, where its two inputs may still lie apart; in the third, tiles of four leave the
 * statistics for the next.
 * @param eights rows of eight tiles per subgroup; 0 for adapters without subgroups.
 */
export function lowerWinograd(node: Node<Conv2dAttrs>, to: Lowering, tile: WinogradTile, eights: number): void {
  const { inputs, attrs: a, output } = node;
  const { x, second, beta, weight, bias, shift, residual } = inputs;
  const { B, H, W, I, OH, OW, O, top, left, up = 1, norm } = a;
  const FIXED = !to.caps.software;
  const affine = norm && groupNormAffine(inputs, norm, to);
  const before = convNorm(a);
  const sources = [{ input: x!, at: 0 }, ...(second ? [{ input: second, at: width4(x!) }] : [])];
  const behind = convOut(node);
  const [I4, O4, TH, TW] = [ceilDiv(I, 4), ceilDiv(O, 4), ceilDiv(OH, tile), ceilDiv(OW, tile)];
  const edge = tile + 2;
  const places = edge ** 2;
  const all = B * TH * TW;
  const round = Math.min(all, Math.max(1, Math.floor(ROUND_BYTES / (places * 16 * Math.max(I4, O4)))));
  const v = to.scratch([places, round, I], 'f32');
  const m = to.scratch([places, round, O], 'f32');
  const chunks = a.stats && tile === 4 ? chunksInTiles(OH, OW, tile) : undefined;
  const stats = chunks && to.scratch([B, chunks.K, 2, O], 'f32');
  const nothing = to.scratch([4], 'f32');
  if (stats) leaveStats(output, { stats, chunks }, to);
  for (let first = 0; first < all; first += round) {
    const tiles = Math.min(round, all - first);
    const common = { B, TH, TW, tiles, first, edge };
    for (const { input, at } of sources) {
      to.dispatch({
        kernel: tile === 2 ? winograd2InputKernel : winograd4InputKernel,
        tunables: { FIXED, ...before.tunables },
        params: {
          ...{ ...common, H, W, A4: width4(input), I4, at, top, left, doubled: up - 1 },
          ...before.params,
        },
        bindings: { input, affine, beta, v },
      });
    }
    to.dispatch({
      kernel: eights ? winogradProductSubgroupKernel : winogradProductKernel,
      tunables: eights ? { SG: to.caps.subgroupSize, EIGHTS: eights } : { ROWS: tiles < 32 ? 2 : 4 },
      params: { tiles, I4, O4, places },
      bindings: { v, w: to.packed(weight!, PACKINGS[tile]), m },
      flops: (convFlops(a) * tiles) / all,
    });
    to.dispatch({
      kernel: tile === 2 ? winograd2OutputKernel : winograd4OutputKernel,
      tunables: { FIXED, ACT: behind.tunables.ACT, ...(stats && { STATS: true }) },
      params: { ...common, OH, OW, O4, ...behind.params },
      // What is written cannot be bound to the zeros that others share.
      bindings: { m, bias, shift, residual, out: output, ...(tile === 4 && { stats: stats ?? nothing }) },
    });
  }
}
