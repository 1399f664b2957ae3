import { describe, expect, it } from 'vitest';
import { create } from 'webgpu';
import { DEFAULT_CAPABILITIES, Device, Graph, lowerNodes, specialise } from '../../src/engine/index.ts';
import { linear, matmulMatrixKernel } from '../../src/kernels/matmul.ts';
import { installGlobals } from '../../src/node/adapter.ts';

function record(dtype: 'f32' | 'f16') {
  const g = new Graph(dtype);
  const x = g.input('x', [256, 512], { layout: 'rows', dtype });
  g.output('y', linear(x, { key: 'w', shape: [512, 512] }, { key: 'b', shape: [512] }));
  return g;
}

function kernelOf(dtype: 'f32' | 'f16', matrices: boolean | undefined): string {
  const g = record(dtype);
  const [{ kernel }] = lowerNodes(g, g.nodes, { ...DEFAULT_CAPABILITIES, f16: true, subgroupSize: 32, matrices });
  return kernel.name;
}

describe('products by subgroup matrices', () => {
  it('are only taken where the device has them and values are halves', () => {
    expect(kernelOf('f16', true)).toBe('matmulMatrix');
    expect(kernelOf('f16', false)).not.toBe('matmulMatrix');
    expect(kernelOf('f16', undefined)).not.toBe('matmulMatrix');
    expect(kernelOf('f32', true)).not.toBe('matmulMatrix');
  });

  it('are what the compiler accepts, with every epilogue', async () => {
    // No adapter of ours has them, but Dawn's compiler does; it is reached without any driver.
    await installGlobals();
    const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
    Object.assign(globalThis, { daguerreNullGpu: gpu });
    const device = await Device.open({ gpu });
    expect(device.gpu.features.has('chromium-experimental-subgroup-matrix' as GPUFeatureName)).toBe(true);
    // It lists no sizes, so nothing would be computed by them.
    expect(device.caps.matrices).toBe(false);
    const { shader } = matmulMatrixKernel;
    for (const [HAS_RESIDUAL, IN_PLACE, HAS_GATE, HAS_SECOND] of [
      [false, false, false, false],
      [true, false, true, true],
      [true, true, false, true],
    ]) {
      for (const storage of ['f16', 'f32'] as const) {
        const code = specialise(shader, storage, { ACT: 1, HAS_RESIDUAL, IN_PLACE, HAS_GATE, HAS_SECOND });
        await device.pipelines.get(code, shader.bindings, 'matmulMatrix');
      }
    }
    device.dispose();
  });
});
