/**
 * The roof that an adapter sets, measured and not read off a data sheet: the rate of fused multiply-adds that never
 * leave registers, and that of a copy of memory. Williams, Waterman, Patterson 2009, "Roofline".
 */
import type { Device } from '../../src/engine/index.ts';
import { median } from '../statistics.ts';
import copyShader from './copy.wgsl';
import fmaShader from './fma.wgsl';

export interface Roofline {
  /** 10⁹ operations a second, a multiply-add counted as two; f32. */
  fmaGflops: number;
  /** 10⁹ bytes a second, read and written counted both. */
  copyGbps: number;
}

/** Where a piece of work stands under the roof. */
export interface Standing {
  /** The least time that the roof allows, ms. */
  boundMs: number;
  /** What the bound is set by. */
  by: 'arithmetic' | 'memory';
  /** The bound over the time taken: 1 is the roof. More is had by an algorithm that needs less arithmetic. */
  fraction: number;
}

/** @param ms time of the work; undefined where neither its arithmetic nor its bytes are known */
export function standing(roof: Roofline, work: { flops: number; bytes: number; ms: number }): Standing | undefined {
  const arithmetic = work.flops / (roof.fmaGflops * 1e6);
  const memory = work.bytes / (roof.copyGbps * 1e6);
  const boundMs = Math.max(arithmetic, memory);
  if (!(boundMs > 0)) return undefined;
  return { boundMs, by: arithmetic >= memory ? 'arithmetic' : 'memory', fraction: boundMs / work.ms };
}

const INVOCATIONS = 65535 * 64;
/** Of fma.wgsl: rounds, steps in each, chains, multiply and add. */
const FLOPS_EACH = 64 * 16 * 12 * 2;
const SOFTWARE_SHARE = 64;
const COPY_BYTES = 64 * 2 ** 20;
const SPAN_MS = 30;
const REPS = 7;

/** Measures both rates. @throws OutOfMemoryError, DeviceLostError */
export async function measureRoofline(device: Device): Promise<Roofline> {
  const groups = device.caps.software ? Math.floor(65535 / SOFTWARE_SHARE) : 65535;
  const invocations = (INVOCATIONS / 65535) * groups;
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [from, to] = ['roofline from', 'roofline to'].map((label) => device.createBuffer(COPY_BYTES, storage, label));
  try {
    const fma = await pipeline(device, fmaShader.code, [to]);
    const copy = await pipeline(device, copyShader.code, [from, to]);
    const copyGroups = COPY_BYTES / 16 / 256;
    const width = Math.min(copyGroups, 32768);
    const fmaMs = await timeOf(device, (encoder) => dispatch(encoder, fma, groups, 1));
    const kernelMs = await timeOf(device, (encoder) => dispatch(encoder, copy, width, copyGroups / width));
    const queueMs = await timeOf(device, (encoder) => encoder.copyBufferToBuffer(from, 0, to, 0, COPY_BYTES));
    return {
      fmaGflops: (invocations * FLOPS_EACH) / fmaMs / 1e6,
      copyGbps: (2 * COPY_BYTES) / Math.min(kernelMs, queueMs) / 1e6,
    };
  } finally {
    device.destroyBuffer(from);
    device.destroyBuffer(to);
  }
}

/** Milliseconds that a probe takes about, and how many groups it begins with on the way there. */
const PROBE_MS = 4;
const FEWEST_GROUPS = 16;

/** A few milliseconds of arithmetic on all units of the adapter: what takes longer than usual has company. */
export async function openProbe(device: Device): Promise<{ run(): Promise<number>; dispose(): void }> {
  const buffer = device.createBuffer(4096, GPUBufferUsage.STORAGE, 'probe');
  const fma = await pipeline(device, fmaShader.code, [buffer]);
  const run = async () => {
    const encoder = device.gpu.createCommandEncoder({ label: 'probe' });
    dispatch(encoder, fma, groups, 1);
    const start = performance.now();
    device.gpu.queue.submit([encoder.finish()]);
    await device.idle();
    return performance.now() - start;
  };
  let groups = FEWEST_GROUPS;
  await run();
  while ((await run()) < PROBE_MS && 2 * groups < 65536) groups *= 2;
  return { run, dispose: () => device.destroyBuffer(buffer) };
}

interface Bound {
  pipeline: GPUComputePipeline;
  group: GPUBindGroup;
}

async function pipeline({ gpu }: Device, code: string, buffers: readonly GPUBuffer[]): Promise<Bound> {
  const module = gpu.createShaderModule({ code, label: 'roofline' });
  const made = await gpu.createComputePipelineAsync({ layout: 'auto', compute: { module }, label: 'roofline' });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  return { pipeline: made, group: gpu.createBindGroup({ layout: made.getBindGroupLayout(0), entries }) };
}

function dispatch(encoder: GPUCommandEncoder, bound: Bound, x: number, y: number): void {
  const pass = encoder.beginComputePass();
  pass.setPipeline(bound.pipeline);
  pass.setBindGroup(0, bound.group);
  pass.dispatchWorkgroups(x, y);
  pass.end();
}

/** Median milliseconds of one piece of work, as many of them behind each other as a clock needs. */
async function timeOf(device: Device, encode: (encoder: GPUCommandEncoder) => void): Promise<number> {
  const once = async (times: number) => {
    const encoder = device.gpu.createCommandEncoder({ label: 'roofline' });
    for (let i = 0; i < times; i++) encode(encoder);
    const start = performance.now();
    device.gpu.queue.submit([encoder.finish()]);
    await device.idle();
    return (performance.now() - start) / times;
  };
  await once(1);
  const times = Math.max(1, Math.min(1000, Math.ceil(SPAN_MS / Math.max(await once(1), 0.001))));
  const measured: number[] = [];
  for (let rep = 0; rep < REPS; rep++) measured.push(await once(times));
  return median(measured);
}
