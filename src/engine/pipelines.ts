/** Compute pipelines, compiled asynchronously and once per distinct shader text. */
import type { Device } from './device.ts';
import { DeviceLostError, ValidationError } from './errors.ts';
import type { ShaderBinding } from './shader.ts';
import { inWidth } from './subgroupMatrices.ts';

const BUFFER_TYPES = { read: 'read-only-storage', write: 'storage', uniform: 'uniform' } as const;

/** Compiled pipelines and their layouts, of one device. */
export class PipelineCache {
  private readonly cache = new Map<string, Promise<GPUComputePipeline>>();
  private readonly layouts = new Map<string, GPUBindGroupLayout>();

  constructor(private readonly device: Device) {}

  get size(): number {
    return this.cache.size;
  }

  /**
   * The pipeline for a WGSL text; a second call with the same text shares it.
   * @throws ValidationError with the compiler's own lines when it does not compile.
   */
  get(code: string, bindings: readonly ShaderBinding[], label: string): Promise<GPUComputePipeline> {
    let pipeline = this.cache.get(code);
    if (!pipeline) {
      pipeline = this.compile(code, bindings, label);
      pipeline.catch(() => this.cache.delete(code));
      this.cache.set(code, pipeline);
    }
    return pipeline;
  }

  /** The bind group layout that reflection found, shared by all kernels of the same signature. */
  layout(bindings: readonly ShaderBinding[]): GPUBindGroupLayout {
    const signature = bindings.map((b) => `${b.binding}:${b.access}`).join(' ');
    let layout = this.layouts.get(signature);
    if (!layout) {
      layout = this.device.gpu.createBindGroupLayout({
        label: signature,
        entries: bindings.map((b) => ({
          binding: b.binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: BUFFER_TYPES[b.access] },
        })),
      });
      this.layouts.set(signature, layout);
    }
    return layout;
  }

  private async compile(code: string, bindings: readonly ShaderBinding[], label: string): Promise<GPUComputePipeline> {
    const { gpu } = this.device;
    gpu.pushErrorScope('validation');
    const module = gpu.createShaderModule({ code: inWidth(code, this.device.matrixWidth), label });
    const scope = gpu.popErrorScope();
    try {
      const layout = gpu.createPipelineLayout({ label, bindGroupLayouts: [this.layout(bindings)] });
      const pipeline = gpu.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: 'main' } });
      const [compiled] = await Promise.all([pipeline, scope]);
      return compiled;
    } catch (error) {
      this.device.check();
      const info = await module.getCompilationInfo().catch(() => undefined);
      const lines = (info?.messages ?? []).map((m) => `  ${m.lineNum}:${m.linePos} ${m.message}`);
      if (!lines.length && /lost/i.test(String(error))) throw new DeviceLostError(`compile ${label}: device lost`);
      throw new ValidationError(`compile ${label}: ${String((error as Error).message ?? error)}\n${lines.join('\n')}`, {
        cause: error,
      });
    }
  }
}
