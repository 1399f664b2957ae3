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
import {
  inWidth,
  matrixChoices,
  MATRICES,
  multipliesRightly,
  SUBGROUP_SIZE,
  type MatrixConfig,
  type MatrixForm,
} from '../../src/engine/subgroupMatrices.ts';
import { conv2d } from '../../src/kernels/conv2d.ts';
import { conv2dMatrixKernel, conv2dMatrixSplitKernel } from '../../src/kernels/conv2dMatrix.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { matmulMatrixKernel, matmulMatrixSplitKernel } from '../../src/kernels/matmulMatrix.ts';
import { matrixColumns4, matrixRows, matrixTiles } from '../../src/kernels/matrices.ts';
import { installGlobals } from '../../src/node/adapter.ts';
import { openMatrixDevice } from '../support/emulateMatrices.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';

const FORMS: readonly MatrixForm[] = ['16x16x16', '8x16x16', '8x8x16', '8x8x8'];
const CAPS: Capabilities = { ...DEFAULT_CAPABILITIES, f16: true, subgroupSize: 32, matrices: '16x16x16' };

function kernelOf(dtype: 'f32' | 'f16', matrices: MatrixForm | undefined): string {
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
  const t = tunables as Record<string, number>;
  return [kernel.name, matrixRows(t), 4 * matrixColumns4(t), 4 * t.K4S, t.EXACT];
}

describe('products by subgroup matrices', () => {
  it('are only taken where the device has them and values are halves', () => {
    for (const form of FORMS) {
      expect(kernelOf('f16', form)).toBe('matmulMatrix');
      expect(kernelOf('f32', form)).not.toBe('matmulMatrix');
    }
    expect(kernelOf('f16', undefined)).not.toBe('matmulMatrix');
  });

  it('take tiles by the shape, and deep ones where there is the memory', () => {
    expect(tileOf(4096, 1280, 4096)).toEqual(['matmulMatrix', 128, 128, 16, true]);
    const raised = { ...CAPS, limits: { ...CAPS.limits, maxComputeWorkgroupStorageSize: 32768 } };
    expect(tileOf(4096, 1280, 4096, raised)).toEqual(['matmulMatrix', 128, 128, 32, true]);
    expect(tileOf(8192, 320, 320)).toEqual(['matmulMatrix', 128, 64, 16, true]);
    expect(tileOf(128, 1280, 1280)).toEqual(['matmulMatrix', 64, 64, 32, true]);
    expect(tileOf(154, 768, 320)).toEqual(['matmulMatrix', 64, 64, 32, false]);
    expect(tileOf(512, 4608, 1152)).toEqual(['matmulMatrix', 128, 64, 16, true]);
    expect(tileOf(512, 18432, 1152)).toEqual(['matmulMatrixSplit', 128, 128, 16, true]);
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
    expect(kernelsFor(1280, 320, 8)).toEqual(['conv2dMatrixSplit', 'conv2dJoin']);
    expect(kernelsFor(256, 320, 8)).toEqual(['conv2dMatrix']);
    expect(kernelsFor(64, 320, 8)).toEqual(['conv2dMatrix']);
    expect(kernelsFor(64, 4, 64)).toEqual(['conv2d']);
    expect(kernelsFor(64, 320, 2)).toEqual(['conv2d']);
  });

  it('fit into what every adapter has, but for the deep one', () => {
    const limits = { ...CAPS.limits, maxComputeWorkgroupStorageSize: 32768 };
    const all = Object.keys(matrixTiles({ ...CAPS, limits }));
    expect(Object.keys(matrixTiles(CAPS))).toEqual(all.filter((name) => !name.endsWith('deep')));
    expect(all.filter((name) => name.endsWith('deep'))).toHaveLength(1);
    for (const form of FORMS.slice(1)) {
      const narrow = Object.keys(matrixTiles({ ...CAPS, matrices: form }));
      expect(narrow).toEqual(Object.keys(matrixTiles({ ...CAPS, matrices: form, limits })));
      expect(narrow).toContain('matrix 128x64');
      expect(narrow).toContain('matrix 64');
    }
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
    expect(device.caps.matrices).toBeUndefined();
    const tiles = FORMS.flatMap((matrices) => Object.values(matrixTiles({ ...CAPS, matrices })));
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

describe('what an adapter lists', () => {
  const config = (sizes: string, componentType = 'f16', resultComponentType = 'f32'): MatrixConfig => {
    const [M, N, K] = sizes.split('x').map(Number);
    return { componentType, resultComponentType, M, N, K };
  };
  const choices = (min: number, max: number, configs: MatrixConfig[], ...features: GPUFeatureName[]) =>
    matrixChoices({ subgroupMinSize: min, subgroupMaxSize: max } as GPUAdapterInfo, configs, new Set(features));

  it('is taken where subgroups are as wide as eight sums per lane make them', () => {
    // As drivers list them: NVIDIA's, lavapipe's of Mesa 26, Apple's.
    const wide = ['16x16x16', '16x8x16', '16x8x8'].flatMap((sizes) => [config(sizes, 'f16', 'f16'), config(sizes)]);
    expect(choices(32, 32, wide)).toEqual([{ form: '16x16x16' }]);
    expect(choices(8, 8, [config('8x8x8', 'f16', 'f16'), config('8x8x8')])).toEqual([{ form: '8x8x8' }]);
    expect(choices(32, 32, [config('8x8x8', 'f32'), config('8x8x8', 'f16', 'f16')])).toEqual([]);
    expect(choices(32, 32, [config('8x8x8')])).toEqual([]);
    expect(choices(64, 64, [config('16x16x16')])).toEqual([]);
  });

  it('is taken where a shader can ask for that width', () => {
    // AMD's, and two generations of Intel's.
    const pinned = [{ form: '16x16x16', width: 32 }];
    expect(choices(32, 64, [config('16x16x16')], SUBGROUP_SIZE)).toEqual(pinned);
    expect(choices(32, 64, [config('16x16x16')])).toEqual([]);
    expect(choices(16, 32, [config('8x16x16')], SUBGROUP_SIZE)).toEqual([{ form: '8x16x16', width: 16 }]);
    expect(choices(8, 32, [config('8x8x16')], SUBGROUP_SIZE)).toEqual([{ form: '8x8x16', width: 8 }]);
  });

  it('makes shaders with matrices ask for it, and no others', () => {
    const code = 'enable chromium_experimental_subgroup_matrix;\n@compute @workgroup_size(64)\nfn main() {}';
    expect(inWidth(code, 32)).toContain('@compute @subgroup_size(32) @workgroup_size(64)');
    expect(inWidth(code, 32)).toMatch(/^enable subgroup_size_control;/);
    expect(inWidth(code, undefined)).toBe(code);
    expect(inWidth('@compute @workgroup_size(64) fn main() {}', 32)).not.toContain('subgroup_size');
  });
});

describe.each(adapters())('the probe for subgroup matrices on %s', (adapter) => {
  const options = { without: adapter === 'swiftshader' ? ['shader-f16' as const] : [] };

  it('leaves out with subgroups what would bring them along', async () => {
    const { caps, gpu } = await openDevice(adapter, { without: ['subgroups' as GPUFeatureName] });
    expect(gpu.features.has('subgroups')).toBe(false);
    expect(caps.subgroupSize).toBe(0);
  });

  it('says no without them', async () => {
    const { gpu } = await openDevice(adapter, { without: [MATRICES] });
    expect(await multipliesRightly(gpu, { form: '16x16x16' })).toBe(false);
  });

  it.each(FORMS)('says yes with %s', async (form) => {
    const { gpu } = await openMatrixDevice(adapter, options, { form });
    expect(await multipliesRightly(gpu, { form })).toBe(true);
  });

  it('says no where they mean something else', async () => {
    const apply = (code: string) => code.replace('&pool, AT, RIGHT', '&pool, AT, RIGHT - 2u');
    const { gpu } = await openMatrixDevice(adapter, options, { edit: { name: 'another stride', apply } });
    expect(await multipliesRightly(gpu, { form: '16x16x16' })).toBe(false);
  });
});
