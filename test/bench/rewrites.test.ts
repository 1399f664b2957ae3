import { afterEach, describe, expect, test } from 'vitest';
import { measureGroup } from '../../bench/measure.ts';
import type { NetworkCase } from '../../bench/models/modelCase.ts';
import { PUBLISHED, recordModel } from '../../bench/models/published.ts';
import { oneSizeEach, variantCases, variantsOf } from '../../bench/rewrites/cases.ts';
import { resnetBlocks, transformerBlock } from '../../bench/rewrites/parts.ts';
import {
  DEFAULT_CAPABILITIES,
  Device,
  Graph,
  prepare,
  Weights,
  type Program,
  type WeightSource,
} from '../../src/engine/index.ts';
import { optionalRewrites, rewrites } from '../../src/kernels/index.ts';
import { add, unary } from '../../src/kernels/elementwise.ts';
import { fromNchw, toNchw } from '../../src/kernels/layout.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { getGpu } from '../support/gpu.ts';
import { normals } from '../support/random.ts';

const caps = DEFAULT_CAPABILITIES;
const titles = (graph: Graph, tune = false) => variantsOf(graph, { caps, tune }).map((v) => v.title);

const tensors: Record<string, { shape: number[]; data: Float32Array }> = {
  w: { shape: [8, 8], data: normals(1, 64, { std: 0.4 }) },
  b: { shape: [8], data: normals(2, 8) },
};
const source: WeightSource = {
  name: 'memory',
  keys: () => Object.keys(tensors),
  info: (key) => tensors[key] && { dtype: 'F32', shape: tensors[key].shape },
  read: async (key) => tensors[key].data,
};

/** y = silu(linear(x)) + x, on [1,8,4,4]: two rewrites find something in it. */
function record(): Graph {
  const g = new Graph();
  const x = fromNchw(g.input('x', [1, 8, 4, 4]));
  const h = linear(x, { key: 'w', shape: [8, 8] }, { key: 'b', shape: [8] });
  g.output('out', toNchw(add(unary(h, { act: 'silu' }), x)));
  return g;
}

describe('the variants of a network', () => {
  test('are all rewrites off, and each that changes what it dispatches', () => {
    const off = ['without any', 'without fold-activation', 'without fold-residual'];
    expect(titles(record())).toEqual([...off, 'once more']);
    expect(titles(record(), true)).toEqual([...off, 'without tuning', 'once more']);
  });

  test('of all networks together leave no rewrite unmeasured', () => {
    const published = ['ddpm-cifar10-32', 'dit-s-2', 'sd15-unet'].map((name) => recordModel(PUBLISHED[name], 'f32'));
    const networks = [...published, resnetBlocks('f32'), transformerBlock('f32')];
    const found = new Set(networks.flatMap(({ graph }) => titles(graph)));
    // Only matrices of halves compute in parts, which join-norm joins.
    const card = { ...caps, f16: true, matrices: '16x16x16' } as const;
    const { graph } = recordModel(PUBLISHED['sd15-unet'], 'f16');
    const dispatchesOf = (...off: string[]) =>
      prepare(graph, card, { rewrites, rewritesOff: new Set(off) }).report.dispatches;
    if (dispatchesOf() < dispatchesOf('join-norm')) found.add('without join-norm');
    const without = rewrites.map((r) => `without ${r.name}`);
    const [first, second] = optionalRewrites.map((r) => r.name);
    const processor = { ...caps, software: true, subgroupSize: 8 };
    for (const { title } of variantsOf(published[0].graph, { caps: processor, tune: false })) {
      if (title.startsWith('with ')) found.add(title);
    }
    const beside = [`with ${first}`, `with ${first} and ${second}`];
    expect([...found].sort()).toEqual(['once more', 'without any', ...without, ...beside].sort());
  });

  test('include doing without subgroups where kernels use them', () => {
    const processor = { ...caps, software: true, subgroupSize: 8 };
    expect(variantsOf(record(), { caps: processor, tune: false }).at(-2)).toMatchObject({
      title: 'without subgroups',
      without: ['subgroups'],
    });
  });
});

describe('of each network', () => {
  const sized = (id: string, side: number): NetworkCase => {
    const graph = new Graph();
    graph.output('out', toNchw(linear(fromNchw(graph.input('x', [1, 8, side, side])), { key: 'w', shape: [8, 8] })));
    return { group: 'a', id, dtype: 'f32', graph, work: () => Promise.reject(new Error('not opened')) };
  };
  const networks = [sized('step-256', 256), sized('step-128', 128), sized('decode-64', 64)];
  const chosen = (software: boolean, only?: string) =>
    oneSizeEach(networks, { caps: { ...caps, software }, tune: false, only }).map((n) => n.id);

  test('a processor gets the smallest size, a GPU the largest, and a full name what it says', () => {
    expect(chosen(true)).toEqual(['step-128', 'decode-64']);
    expect(chosen(false)).toEqual(['step-256', 'decode-64']);
    expect(chosen(true, 'a/step-256')).toEqual(['step-256']);
  });
});

describe('a network and its variants, on lavapipe', () => {
  let device: Device | undefined;
  afterEach(() => device?.dispose());

  /** @param wrong the program, counted from 0, that gets another input than the others */
  async function measure(wrong?: number) {
    const gpu = await getGpu('lavapipe');
    const graph = record();
    let programs = 0;
    let devices = 0;
    const network: NetworkCase = {
      ...{ group: 'small', id: 'net-1x4', dtype: 'f32', graph },
      async work(device) {
        const x = normals(3, 128);
        const verify = async (program: Program) => {
          if (programs++ === wrong) program.write('x', normals(4, 128));
          await program.run();
          return 0;
        };
        return { graph, weights: new Weights(device, source), inputs: { x }, verify };
      },
    };
    const openDevice = (_: boolean, without: readonly GPUFeatureName[] = []) => {
      devices++;
      return Device.open({ gpu, without: [...without], tune: { mode: 'off' } });
    };
    device = await openDevice(false);
    const cases = variantCases(network, { caps: device.caps, tune: false });
    devices = 0;
    return { cases, ...(await measureGroup(cases, { openDevice, reps: 6 })), devices };
  }

  test('are measured in turns, with dispatches, memory and gain', async () => {
    const { cases, results, failures, devices } = await measure();
    expect(failures).toEqual([]);
    expect(results.map((r) => r.name)).toEqual(cases.map((c) => c.name));
    // All that can share a device: without subgroups is another.
    expect(devices).toBe(2);
    const [on, none, activation] = results;
    expect(on.gain).toBeUndefined();
    expect(none).toMatchObject({ suite: 'rewrites', name: 'small/net-1x4 without any' });
    expect(none.dispatches).toBe(prepare(record(), device!.caps).report.dispatches);
    expect(none.dispatches).toBeGreaterThan(on.dispatches);
    expect(activation.gain).toMatchObject({ against: 'small/net-1x4', pairs: 6 });
    expect(activation.gain!.low!).toBeLessThanOrEqual(activation.gain!.ratio);
    expect(activation.activations!.peakBytes).toBeGreaterThan(0);
  });

  test('of which one gives something else, that one fails, and the others are measured', async () => {
    const { cases, results, failures } = await measure(1);
    expect(failures.map((f) => f.name)).toEqual(['small/net-1x4 without any']);
    expect(failures[0].message).toMatch(/wrong result; small\/net-1x4 without any/);
    expect(results.length).toBe(cases.length - 1);
  });
});
