/**
 * What a device says of its subgroup matrices (Dawn's experimental feature), and a test that they work as kernels
 * expect.
 */

/** The feature's name. */
export const MATRICES = 'chromium-experimental-subgroup-matrix' as GPUFeatureName;

/** Shaders may ask for subgroups of one of the widths that a driver has. */
export const SUBGROUP_SIZE = 'subgroup-size-control' as GPUFeatureName;

/**
 * A size of matrices that subgroups multiply: M×K by K×N into M×N, with the types of what is multiplied and of the
 * sums.
 */
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

/** The sizes that kernels take, best first: M×K by K×N, halves multiplied into sums in f32. */
const FORMS = ['16x16x16', '8x16x16', '8x8x16', '8x8x8'] as const;

/** One of them, as M×N×K. */
export type MatrixForm = (typeof FORMS)[number];

/** The sizes by their name. */
export function matrixForm(name: MatrixForm): Record<'M' | 'N' | 'K', number> {
  const [M, N, K] = name.split('x').map(Number);
  return { M, N, K };
}

/** A name by the sizes, whether kernels take them or not. */
export const nameOfForm = ({ M, N, K }: Record<'M' | 'N' | 'K', number>): string => `${M}x${N}x${K}`;

/**
 * How many lanes a subgroup must have for kernels to take it: eight sums each. The hardware that has these sizes is
 * that wide or can be, and a result then passes through memory as two vec4 to a lane.
 */
export const lanesOf = ({ M, N }: { M: number; N: number }): number => (M * N) / 8;

/**
 * What kernels count on: sizes, and the lanes of a subgroup that shaders must ask for where a driver has several
 * widths.
 */
export interface MatrixChoice {
  form: MatrixForm;
  width?: number;
}

/** What an adapter and a device's features allow, best first. */
export function matrixChoices(
  { subgroupMinSize: min, subgroupMaxSize: max }: GPUAdapterInfo,
  configs: readonly MatrixConfig[],
  features: { has: (name: GPUFeatureName) => boolean },
): MatrixChoice[] {
  const names = configs
    .filter((c) => c.componentType === 'f16' && c.resultComponentType === 'f32')
    .map((c) => nameOfForm(c));
  return FORMS.filter((form) => names.includes(form)).flatMap((form) => {
    const lanes = lanesOf(matrixForm(form));
    if (min === max) return lanes === min ? [{ form }] : [];
    return min! <= lanes && lanes <= max! && features.has(SUBGROUP_SIZE) ? [{ form, width: lanes }] : [];
  });
}

/** A shader that multiplies matrices, told its subgroup width where a driver has several; any other shader as it is. */
export function inWidth(code: string, width: number | undefined): string {
  if (!width || !/^enable chromium_experimental_subgroup_matrix;/m.test(code)) return code;
  return `enable subgroup_size_control;\n${code.replace(/@compute\b/, `@compute @subgroup_size(${width})`)}`;
}

/**
 * A product of small whole numbers, in memory as kernels have it: halves and sums in one array of pairs of words, rows
 * further apart than they are long. Each lane tells one more than how many of its sums are wrong.
 */
const PROBE = `diagnostic(off, chromium.subgroup_matrix_uniformity);
enable f16;
enable chromium_experimental_subgroup_matrix;
const MM = 16u;
const MN = 16u;
const MK = 16u;
const SG = MM * MN / 8u;
const LEFT = MK / 4u + 2u;
const RIGHT = MN / 2u + 2u;
const AT = MM * LEFT;
alias Left = subgroup_matrix_left<f16, MK, MM>;
alias Right = subgroup_matrix_right<f16, MN, MK>;
alias Result = subgroup_matrix_result<f32, MN, MM>;
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
var<workgroup> pool: array<vec2<u32>, AT + (MM + MK) * RIGHT>;
fn a(row: u32, k: u32) -> f32 { return f32((row * 3u + k) % 7u); }
fn b(k: u32, column: u32) -> f32 { return f32((k * 5u + column * 2u) % 11u); }
@compute @workgroup_size(SG)
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var i = lane; i < MM * MK / 4u; i += SG) {
    let y = i / (MK / 4u);
    let x = i % (MK / 4u) * 4u;
    pool[y * LEFT + x / 4u] = vec2<u32>(
      pack2x16float(vec2<f32>(a(y, x), a(y, x + 1u))), pack2x16float(vec2<f32>(a(y, x + 2u), a(y, x + 3u))));
  }
  for (var i = lane; i < MK * MN / 4u; i += SG) {
    let y = i / (MN / 4u);
    let x = i % (MN / 4u) * 4u;
    pool[AT + y * RIGHT + x / 4u] = vec2<u32>(
      pack2x16float(vec2<f32>(b(y, x), b(y, x + 1u))), pack2x16float(vec2<f32>(b(y, x + 2u), b(y, x + 3u))));
  }
  workgroupBarrier();
  var sums: Result;
  let left = subgroupMatrixLoad<Left, row_major>(&pool, 0u, LEFT);
  let right = subgroupMatrixLoad<Right, row_major>(&pool, AT, RIGHT);
  sums = subgroupMatrixMultiplyAccumulate(left, right, sums);
  sums = subgroupMatrixMultiplyAccumulate(left, right, sums);
  workgroupBarrier();
  subgroupMatrixStore<row_major>(&pool, AT, sums, RIGHT);
  workgroupBarrier();
  var wrong = 1u;
  for (var i = lane; i < MM * MN; i += SG) {
    var sum = 0.0;
    for (var k = 0u; k < MK; k++) { sum += a(i / MN, k) * b(k, i % MN); }
    let at = AT + i / MN * RIGHT + i % MN / 2u;
    wrong += u32(bitcast<f32>(pool[at][i % 2u]) != 2.0 * sum);
  }
  out[lane] = wrong;
}`;

/** Whether the compiler accepts such matrices as kernels write them, and the device multiplies them correctly. */
export async function multipliesRightly(gpu: GPUDevice, { form, width }: MatrixChoice): Promise<boolean> {
  const sizes = matrixForm(form);
  const size = lanesOf(sizes) * 4;
  const sized = PROBE.replace(/const M([MNK]) = 16u;/g, (_, of: 'M' | 'N' | 'K') => `const M${of} = ${sizes[of]}u;`);
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
    const module = gpu.createShaderModule({ code: inWidth(sized, width), label: 'matrix probe' });
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
