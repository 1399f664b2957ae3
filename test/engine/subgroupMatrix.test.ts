import { describe, expect, it } from 'vitest';
import { create } from 'webgpu';
import {
  DEFAULT_CAPABILITIES,
  Device,
  Graph,
  lowerNodes,
  specialise,
  type Capabilities,
  type Kernel,
  type Tunables,
} from '../../src/engine/index.ts';
import { multipliesRightly } from '../../src/engine/subgroupMatrices.ts';
import { conv2d } from '../../src/kernels/conv2d.ts';
import { conv2dMatrixKernel, conv2dMatrixSplitKernel } from '../../src/kernels/conv2dMatrix.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { matmulMatrixKernel, matmulMatrixSplitKernel } from '../../src/kernels/matmulMatrix.ts';
import { MATRICES, matrixFits } from '../../src/kernels/matrices.ts';
import { installGlobals } from '../../src/node/adapter.ts';
import { openMatrixDevice } from '../support/emulateMatrices.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';

const CAPS: Capabilities = { ...DEFAULT_CAPABILITIES, f16: true, subgroupSize: 32, matrices: true };

function kernelOf(dtype: 'f32' | 'f16', matrices: boolean | undefined): string {
  const g = new Graph(dtype);
  const x = g.input('x', [256, 512], { layout: 'rows', dtype });
  g.output('y', linear(x, { key: 'w', shape: [512, 512] }, { key: 'b', shape: [512] }));
  const [{ kernel }] = lowerNodes(g, g.nodes, { ...CAPS, matrices });
  return kernel.name;
}

/** Edges of the tiles that a layer of these sizes is given, and whether they fit. */
function tileOf(rows: number, channels: number, columns: number, caps = CAPS) {
  const g = new Graph('f16');
  const x = g.input('x', [rows, channels], { layout: 'rows', dtype: 'f16' });
  g.output('y', linear(x, { key: 'w', shape: [columns, channels] }));
  const [{ kernel, tunables }] = lowerNodes(g, g.nodes, caps);
  const { SUBS_M, SUBS_N, ROWS, K4S, EXACT } = tunables as Record<string, number>;
  return [kernel.name, 16 * ROWS * SUBS_M, 32 * SUBS_N, 4 * K4S, EXACT];
}

describe('products by subgroup matrices', () => {
  it('are only taken where the device has them and values are halves', () => {
    expect(kernelOf('f16', true)).toBe('matmulMatrix');
    expect(kernelOf('f16', false)).not.toBe('matmulMatrix');
    expect(kernelOf('f16', undefined)).not.toBe('matmulMatrix');
    expect(kernelOf('f32', true)).not.toBe('matmulMatrix');
  });

  it('take tiles by the shape, and deep ones where there is the memory', () => {
    expect(tileOf(4096, 1280, 4096)).toEqual(['matmulMatrix', 128, 128, 16, true]);
    const raised = { ...CAPS, limits: { ...CAPS.limits, maxComputeWorkgroupStorageSize: 32768 } };
    expect(tileOf(4096, 1280, 4096, raised)).toEqual(['matmulMatrix', 128, 128, 32, true]);
    expect(tileOf(8192, 320, 320)).toEqual(['matmulMatrix', 128, 64, 16, true]);
    expect(tileOf(128, 1280, 1280)).toEqual(['matmulMatrix', 64, 64, 32, true]);
    expect(tileOf(154, 768, 320)).toEqual(['matmulMatrix', 64, 64, 32, false]);
    expect(tileOf(512, 4608, 1152)).toEqual(['matmulMatrixSplit', 128, 128, 16, true]);
    expect(tileOf(8, 1280, 1280)[0]).not.toBe('matmulMatrix');
  });

  it('serve convolutions of many pixels and channels', () => {
    const kernelsFor = (I: number, channels: number, H: number) => {
      const g = new Graph('f16');
      const x = g.input('x', [2, H, H, I], { layout: 'rows', dtype: 'f16' });
      g.output('y', conv2d(x, { key: 'w', shape: [channels, I, 3, 3] }, undefined, { padding: 1 }));
      return lowerNodes(g, g.nodes, CAPS).map(({ kernel }) => kernel.name);
    };
    expect(kernelsFor(64, 320, 64)).toEqual(['conv2dMatrix']);
    expect(kernelsFor(256, 320, 8)).toEqual(['conv2dMatrixSplit', 'conv2dJoin']);
    expect(kernelsFor(64, 320, 8)).toEqual(['conv2dMatrix']);
    expect(kernelsFor(64, 4, 64)).toEqual(['conv2d']);
    expect(kernelsFor(64, 320, 2)).toEqual(['conv2d']);
  });

  it('fit into what every adapter has, but for the deep one', () => {
    const fitting = Object.keys(MATRICES).filter((name) => matrixFits(MATRICES[name], CAPS));
    expect(fitting).toEqual(Object.keys(MATRICES).filter((name) => !name.endsWith('deep')));
  });

  it('are what the compiler accepts, with every epilogue', async () => {
    // No adapter of ours has them, but Dawn's compiler does; it is reached without any driver.
    await installGlobals();
    const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
    Object.assign(globalThis, { daguerreNullGpu: gpu });
    const device = await Device.open({ gpu });
    expect(device.gpu.features.has('chromium-experimental-subgroup-matrix' as GPUFeatureName)).toBe(true);
    // It lists no sizes, so nothing would be computed by them; and what is computed, is not.
    expect(device.matrixConfigs).toEqual([]);
    expect(device.caps.matrices).toBe(false);
    const tiles = Object.values(MATRICES).filter((tile) => matrixFits(tile, CAPS));
    const compile = async ({ shader, name }: Kernel, tunables: Tunables[]) => {
      for (const storage of ['f16', 'f32'] as const) {
        for (const t of tunables) {
          await device.pipelines.get(specialise(shader, storage, t), shader.bindings, name);
        }
      }
    };
    await compile(matmulMatrixKernel, [
      ...tiles,
      { HAS_RESIDUAL: true, HAS_GATE: true, HAS_SECOND: true, EXACT: true, ACT: 1 },
      { HAS_RESIDUAL: true, IN_PLACE: true, HAS_SECOND: true },
      { GATED: true },
    ]);
    await compile(conv2dMatrixKernel, [...tiles, { HAS_SHIFT: true, HAS_RESIDUAL: true, UP: 2, EXACT: true, ACT: 1 }]);
    await compile(matmulMatrixSplitKernel, [{ EXACT: true }, { HAS_SECOND: true }]);
    await compile(conv2dMatrixSplitKernel, [{ EXACT: true }, { UP: 2 }]);
    device.dispose();
  });
});

describe.each(adapters())('the probe for subgroup matrices on %s', (adapter) => {
  const options = { without: adapter === 'lavapipe' ? [] : ['shader-f16' as const] };

  it('says no without them', async () => {
    expect(await multipliesRightly((await openDevice(adapter)).gpu)).toBe(false);
  });

  it('says yes with them, and no where they mean something else', async () => {
    const right = await openMatrixDevice(adapter, options);
    expect(await multipliesRightly(right.gpu)).toBe(true);
    const apply = (code: string) => code.replace('&pool, 96u, 10u', '&pool, 96u, 8u');
    const wrong = await openMatrixDevice(adapter, options, { name: 'another stride', apply });
    expect(await multipliesRightly(wrong.gpu)).toBe(false);
  });
});
