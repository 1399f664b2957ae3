/** What a device says of its subgroup matrices (Dawn's experimental feature), and whether they are what kernels take them for. */

/** The feature's name. */
export const MATRICES = 'chromium-experimental-subgroup-matrix' as GPUFeatureName;

/** A size of matrices that subgroups multiply: M×K by K×N into M×N, with the types of what is multiplied and of the sums. */
export interface MatrixConfig {
  componentType: string;
  resultComponentType: string;
  M: number;
  N: number;
  K: number;
}

/** All that an adapter lists, in its order. */
export function matrixConfigs(
  info: GPUAdapterInfo & { subgroupMatrixConfigs?: Iterable<MatrixConfig> },
): MatrixConfig[] {
  return [...(info.subgroupMatrixConfigs ?? [])].map(({ componentType, resultComponentType, M, N, K }) => ({
    ...{ componentType, resultComponentType, M, N, K },
  }));
}

/** Whether subgroups of 32 lanes, no more and no fewer, multiply 16×16 halves into f32. */
export function multiplies16({ subgroupMinSize, subgroupMaxSize }: GPUAdapterInfo, configs: MatrixConfig[]): boolean {
  const is16 = (c: MatrixConfig) => c.M === 16 && c.N === 16 && c.K === 16;
  const sums32 = (c: MatrixConfig) => c.componentType === 'f16' && c.resultComponentType === 'f32';
  return subgroupMinSize === 32 && subgroupMaxSize === 32 && configs.some((c) => is16(c) && sums32(c));
}

/**
 * A product of small whole numbers, in memory as kernels have it: halves and sums in one array of pairs of words, rows
 * further apart than they are long. Each lane tells one more than how many of its sums are wrong.
 */
const PROBE = `diagnostic(off, chromium.subgroup_matrix_uniformity);
enable f16;
enable chromium_experimental_subgroup_matrix;
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
var<workgroup> pool: array<vec2<u32>, 384>;
fn a(row: u32, k: u32) -> f32 { return f32((row * 3u + k) % 7u); }
fn b(k: u32, column: u32) -> f32 { return f32((k * 5u + column * 2u) % 11u); }
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var i = lane; i < 64u; i += 32u) {
    let y = i / 4u;
    let x = i % 4u * 4u;
    pool[y * 6u + i % 4u] = vec2<u32>(
      pack2x16float(vec2<f32>(a(y, x), a(y, x + 1u))), pack2x16float(vec2<f32>(a(y, x + 2u), a(y, x + 3u))));
    pool[96u + y * 10u + i % 4u] = vec2<u32>(
      pack2x16float(vec2<f32>(b(y, x), b(y, x + 1u))), pack2x16float(vec2<f32>(b(y, x + 2u), b(y, x + 3u))));
  }
  workgroupBarrier();
  var sums: Result;
  let left = subgroupMatrixLoad<Left, row_major>(&pool, 0u, 6u);
  let right = subgroupMatrixLoad<Right, row_major>(&pool, 96u, 10u);
  sums = subgroupMatrixMultiplyAccumulate(left, right, sums);
  sums = subgroupMatrixMultiplyAccumulate(left, right, sums);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&pool, 64u, sums, 10u);
  workgroupBarrier();
  var wrong = 1u;
  for (var i = lane; i < 256u; i += 32u) {
    var sum = 0.0;
    for (var k = 0u; k < 16u; k++) { sum += a(i / 16u, k) * b(k, i % 16u); }
    let at = 64u + i / 16u * 10u + i % 16u / 2u;
    wrong += u32(bitcast<f32>(pool[at][i % 2u]) != 2.0 * sum);
  }
  out[lane] = wrong;
}`;

/** Whether the compiler takes matrices in the form that kernels write them, and the device multiplies them rightly. */
export async function multipliesRightly(gpu: GPUDevice): Promise<boolean> {
  const size = 32 * 4;
  const out = gpu.createBuffer({
    size,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
    label: 'matrix probe',
  });
  const read = gpu.createBuffer({
    size,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    label: 'matrix probe',
  });
  gpu.pushErrorScope('validation');
  try {
    const module = gpu.createShaderModule({ code: PROBE, label: 'matrix probe' });
    const pipeline = gpu.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
    const compiled = await pipeline;
    const entries = [{ binding: 0, resource: { buffer: out } }];
    const encoder = gpu.createCommandEncoder({ label: 'matrix probe' });
    const pass = encoder.beginComputePass();
    pass.setPipeline(compiled);
    pass.setBindGroup(0, gpu.createBindGroup({ layout: compiled.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(1);
    pass.end();
    encoder.copyBufferToBuffer(out, 0, read, 0, size);
    gpu.queue.submit([encoder.finish()]);
    await read.mapAsync(GPUMapMode.READ);
    return new Uint32Array(read.getMappedRange()).every((wrong) => wrong === 1);
  } catch {
    return false;
  } finally {
    await gpu.popErrorScope().catch(() => null);
    out.destroy();
    read.destroy();
  }
}
