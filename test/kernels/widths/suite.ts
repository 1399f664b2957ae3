/**
 * The kernels whose lanes share loads, on subgroups of a width that this machine's processor does not have by itself:
 * lavapipe takes another when it starts, so every width has a test file, which is a process, of its own.
 */
import { describe, expect, it } from 'vitest';
import { Graph } from '../../../src/engine/index.ts';
import { attention, conv2d, groupNorm, layerNorm, linear } from '../../../src/kernels/index.ts';
import { adaptiveNorm } from '../../../src/kernels/modulation.ts';
import { attentionReference } from '../../reference/attention.ts';
import { convReference } from '../../reference/conv.ts';
import { linearReference } from '../../reference/linear.ts';
import { groupNormReference, layerNormReference } from '../../reference/norm.ts';
import {
  attentionTolerance,
  dotTolerance,
  expectClose,
  normTolerance,
  winogradTolerance,
} from '../../support/close.ts';
import { normals, roundTo } from '../../support/random.ts';
import { openDevice, runGraph, storages } from '../../support/runGraph.ts';

const SAME = { stride: 1, top: 1, left: 1, bottom: 1, right: 1 };
const CONVS = [
  { way: 'shared 1', c: { B: 1, H: 5, W: 3, I: 5, O: 9, R: 3, S: 3, ...SAME, stride: 2 } },
  { way: 'shared 3', c: { B: 2, H: 7, W: 9, I: 13, O: 70, R: 3, S: 3, ...SAME } },
  { way: 'winograd2 2', c: { B: 1, H: 9, W: 7, I: 8, O: 66, R: 3, S: 3, ...SAME } },
  { way: 'winograd4 3', c: { B: 1, H: 13, W: 9, I: 8, O: 66, R: 3, S: 3, ...SAME } },
];

/** Registers the tests, on lavapipe with vectors of `lanes` f32; call it before anything opens the adapter. */
export function testWidth(lanes: 4 | 8 | 16): void {
  process.env.LP_NATIVE_VECTOR_WIDTH = String(32 * lanes);

  describe.each(storages('lavapipe'))(`subgroups of ${lanes}, %s`, (_, dtype, options) => {
    const rows = { layout: 'rows', dtype } as const;

    it('has the width', async () => {
      const { caps } = await openDevice('lavapipe', options);
      expect(caps.subgroupSize).toBe(lanes);
    });

    it.each([
      { way: 'shared 1', M: 5, K: 6, N: 4 * lanes + 5 },
      { way: 'shared 2', M: 37, K: 33, N: 130 },
      { way: 'shared 3', M: 24, K: 16, N: 8 * lanes },
      { way: 'shared 4', M: 43, K: 12, N: 4 * lanes },
    ])('linear $M×$K×$N $way', async ({ way, M, K, N }) => {
      const device = await openDevice('lavapipe', options);
      const [x, w] = [roundTo(dtype, normals(1, M * K)), roundTo(dtype, normals(2, N * K))];
      const bias = normals(3, N);
      const g = new Graph(dtype);
      g.output('y', linear(g.input('x', [M, K], rows), { key: 'w', shape: [N, K] }, { key: 'b', shape: [N] }));
      const { outputs, dispatches } = await runGraph(device, g, {
        inputs: { x },
        weights: { w, b: bias },
        choices: { get: () => way },
      });
      expect(dispatches[0].tunables).toMatchObject({ SG: lanes });
      expectClose(outputs.y, linearReference(x, w, { M, N, K }, { bias }), dotTolerance(dtype, K, 5 * Math.sqrt(K)));
    });

    it.each(CONVS.filter(({ way }) => dtype === 'f32' || !way.startsWith('winograd4')))(
      'conv2d $way',
      async ({ way, c }) => {
        const device = await openDevice('lavapipe', options);
        const taps = 9 * c.I;
        const x = roundTo(dtype, normals(1, c.B * c.H * c.W * c.I));
        const w = roundTo(dtype, normals(2, c.O * taps, { std: 1 / Math.sqrt(taps) }));
        const g = new Graph(dtype);
        const weight = { key: 'w', shape: [c.O, c.I, 3, 3] };
        const y = conv2d(g.input('x', [c.B, c.H, c.W, c.I], rows), weight, undefined, { stride: c.stride, padding: 1 });
        g.output('y', y);
        const { outputs, dispatches } = await runGraph(device, g, {
          inputs: { x },
          weights: { w },
          choices: { get: () => way },
        });
        expect(dispatches.some(({ tunables }) => tunables.SG === lanes)).toBe(true);
        const tile = way.startsWith('winograd') && (Number(way['winograd'.length]) as 2 | 4);
        const tolerance = tile ? winogradTolerance(dtype, tile, taps, 5) : dotTolerance(dtype, taps, 5);
        expectClose(outputs.y, convReference(x, w, c, {}), tolerance, way);
      },
    );

    it.each([
      { T: 33, S: 77, heads: 2, d: 40 },
      { T: 9, S: 5, heads: 3, d: 12 },
    ])('attention $T×$S, $heads heads of $d', async ({ T, S, heads, d }) => {
      const device = await openDevice('lavapipe', options);
      const g = new Graph(dtype);
      const values = (seed: number, tokens: number) => roundTo(dtype, normals(seed, tokens * heads * d));
      const data = { q: values(1, T), k: values(2, S), v: values(3, S) };
      const input = (name: string, tokens: number) => g.input(name, [1, tokens, heads * d], rows);
      g.output('y', attention(input('q', T), input('k', S), input('v', S), { heads, algorithm: 'matrix' }));
      const { outputs, dispatches } = await runGraph(device, g, { inputs: data });
      expect(dispatches.filter(({ tunables }) => tunables.SG === lanes)).toHaveLength(2);
      const { out, score } = attentionReference(data.q, data.k, data.v, { B: 1, T, S, heads, d });
      expectClose(outputs.y, out, attentionTolerance(dtype, d, S, score, 5));
    });

    it.each([
      { B: 1, P: 37, C: 30, groups: 10 },
      { B: 2, P: 5, C: 128, groups: 32 },
      { B: 1, P: 64, C: 80, groups: 8 },
    ])('groupNorm [$B,$P,$C] in $groups', async ({ B, P, C, groups }) => {
      const device = await openDevice('lavapipe', options);
      const x = roundTo(dtype, normals(1, B * P * C, { mean: 10 }));
      const g = new Graph(dtype);
      g.output('y', groupNorm(g.input('x', [B, P, C], rows), undefined, undefined, { groups, eps: 1e-5 }));
      const { outputs, dispatches } = await runGraph(device, g, { inputs: { x } });
      expect(dispatches).toHaveLength(1);
      expect(dispatches[0].tunables).toMatchObject({ SG: lanes, FOURS: lanes === 4, AHEAD: lanes > 4 });
      const { out, gain } = groupNormReference(x, { B, P, C, groups }, { eps: 1e-5 });
      expectClose(
        outputs.y,
        out,
        out.map((v, i) => normTolerance(dtype, gain[i], v)),
        'groupNorm',
      );
    });

    it('layerNorm and adaptiveNorm', async () => {
      const device = await openDevice('lavapipe', options);
      const [B, T, D] = [2, 17, 132];
      const [x, m] = [normals(1, B * T * D), normals(2, B * 2 * D)].map((v) => roundTo(dtype, v));
      const [gamma, beta] = [normals(3, D), normals(4, D)];
      const g = new Graph(dtype);
      const tokens = g.input('x', [B, T, D], rows);
      const scaled = { gamma: { key: 'gamma', shape: [D] }, beta: { key: 'beta', shape: [D] } };
      g.output('layer', layerNorm(tokens, scaled.gamma, scaled.beta, { eps: 1e-6 }));
      const at = { scale: 0, shift: D, eps: 1e-6 };
      g.output('adaptive', adaptiveNorm(tokens, g.input('m', [B, 2 * D], rows), at));
      const { outputs, dispatches } = await runGraph(device, g, { inputs: { x, m }, weights: { gamma, beta } });
      expect(dispatches.filter(({ tunables }) => tunables.SG === lanes)).toHaveLength(lanes > 4 ? 2 : 0);
      for (let b = 0; b < B; b++) {
        const part = (data: Float32Array) => data.subarray(b * T * D, (b + 1) * T * D);
        const row = (at: number) => m.slice(2 * b * D + at, 2 * b * D + at + D);
        const conditions = { gamma: row(0).map((v) => 1 + v), beta: row(D) };
        for (const [name, affine] of Object.entries({ layer: { gamma, beta }, adaptive: conditions })) {
          const { out, gain } = layerNormReference(part(x), { M: T, D }, { ...affine, eps: 1e-6 });
          const tolerance = out.map((v, i) =>
            normTolerance(dtype, gain[i], Math.abs(v) + Math.abs(affine.beta[i % D])),
          );
          expectClose(part(outputs[name]), out, tolerance, name);
        }
      }
    });
  });
}
