/** A WebGPU device with what was negotiated for it, its pipelines, and an account of what it holds. */
import { AdapterError, DeviceLostError, OutOfMemoryError, ValidationError, type DaguerreError } from './errors.ts';
import { Pacer } from './pacer.ts';
import { PipelineCache } from './pipelines.ts';
import {
  matrixChoices,
  matrixConfigs,
  MATRICES,
  multipliesRightly,
  SUBGROUP_SIZE,
  type MatrixChoice,
  type MatrixConfig,
  type MatrixForm,
} from './subgroupMatrices.ts';
import { Tuner, tuneOptions, type TuneMode, type TuneOptions } from './tune.ts';
import { browserTuneStore } from './tuneStore.ts';
import { WarmUp } from './warmUp.ts';

/** What kernels and plans may count on. */
export interface Capabilities {
  /** `shader-f16` was granted. */
  f16: boolean;
  /** Width of a subgroup where `subgroups` was granted and the adapter has one width only; otherwise 0. */
  subgroupSize: number;
  /**
   * Sizes of matrices of halves that subgroups multiply into sums in f32 (Dawn's experimental subgroup matrices),
   * tested when the device was opened; left out where there are none.
   */
  matrices?: MatrixForm;
  /** `timestamp-query` was granted. */
  timestamps: boolean;
  /** True for an adapter that runs on the processor (SwiftShader, lavapipe, WARP). */
  software: boolean;
  limits: Limits;
}

/** The limits that plans and kernels look at, by their names in WebGPU; sizes and alignments in bytes. */
export interface Limits {
  maxStorageBufferBindingSize: number;
  maxBufferSize: number;
  maxStorageBuffersPerShaderStage: number;
  maxComputeWorkgroupStorageSize: number;
  maxComputeInvocationsPerWorkgroup: number;
  maxComputeWorkgroupsPerDimension: number;
  minStorageBufferOffsetAlignment: number;
  minUniformBufferOffsetAlignment: number;
}

/** The limits that every WebGPU adapter has. Bytes, but for counts. */
export const DEFAULT_LIMITS: Limits = {
  maxStorageBufferBindingSize: 128 * 2 ** 20,
  maxBufferSize: 256 * 2 ** 20,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupsPerDimension: 65535,
  minStorageBufferOffsetAlignment: 256,
  minUniformBufferOffsetAlignment: 256,
};

/** The least that a plan made without any device may assume. */
export const DEFAULT_CAPABILITIES: Capabilities = {
  f16: false,
  subgroupSize: 0,
  timestamps: false,
  software: false,
  limits: DEFAULT_LIMITS,
};

/** What to ask of an adapter. */
export interface DeviceOptions {
  /** The WebGPU entry point; default `navigator.gpu`. In Node `daguerre/node` supplies one. */
  gpu?: GPU;
  /** A wish between battery and speed; adapters may ignore it. */
  powerPreference?: GPUPowerPreference;
  /** Features that must be there. */
  require?: GPUFeatureName[];
  /** Optional features to leave out even where offered, e.g. `shader-f16`, to test the other path. */
  without?: GPUFeatureName[];
  /**
   * `default` asks for no more than every adapter has; `raised` takes larger buffers, bindings and workgroup memory;
   * `auto` does so where the adapter is hardware.
   */
  limits?: 'default' | 'raised' | 'auto';
  /** Name in the messages of WebGPU; default `daguerre`. */
  label?: string;
  /** Whether and how ways of computing are chosen by measurement; default `cached`: from what was measured earlier. */
  tune?: TuneMode | TuneOptions;
}

const SUBGROUPS = 'subgroups' as GPUFeatureName;
const OPTIONAL: GPUFeatureName[] = ['shader-f16', 'timestamp-query', SUBGROUPS, MATRICES, SUBGROUP_SIZE];

/** An open device. `dispose()` releases everything made from it. */
export class Device {
  /** Compiled pipelines by their code. */
  readonly pipelines: PipelineCache;
  /** Uses pipelines before they are needed, where that is what takes long. */
  readonly warmUp: WarmUp;
  /** Keeps submits short and few of them under way. */
  readonly pacer: Pacer;
  /** Chooses among ways to compute the same. */
  readonly tuner: Tuner;
  /** Bytes in live buffers made by {@link createBuffer}, and how many. */
  readonly held = { bytes: 0, buffers: 0 };
  /** The sizes of subgroup matrices that the adapter lists; none where the feature was not granted. */
  readonly matrixConfigs: readonly MatrixConfig[];
  private failure: DaguerreError | undefined;
  private disposed = false;

  private constructor(
    readonly gpu: GPUDevice,
    readonly info: GPUAdapterInfo,
    readonly caps: Capabilities,
    tune?: TuneOptions,
    /** The width of subgroups that shaders with matrices ask for; undefined where there is one only. */
    readonly matrixWidth?: number,
  ) {
    this.matrixConfigs = gpu.features.has(MATRICES) ? matrixConfigs(info) : [];
    this.pipelines = new PipelineCache(this);
    this.warmUp = new WarmUp(this);
    this.pacer = new Pacer(this);
    this.tuner = new Tuner(this, { store: browserTuneStore(), ...tune });
    gpu.lost.then((lost) => {
      if (this.disposed) return;
      this.failure = new DeviceLostError(
        `device: lost (${lost.reason}): ${lost.message || 'no reason given'}; open a new device and load again`,
      );
    }, noop);
    gpu.onuncapturederror = (event) => {
      this.failure ??= typed(event.error, 'device');
    };
  }

  /**
   * Negotiates features and opens a device at WebGPU's default limits unless told otherwise.
   * @throws AdapterError where there is no WebGPU, no adapter or not every required feature, or the adapter gives no
   * device; InvalidArgumentError for an unknown mode of tuning.
   */
  static async open(options: DeviceOptions = {}): Promise<Device> {
    const tune = tuneOptions(options.tune);
    const gpu = options.gpu ?? globalThis.navigator?.gpu;
    if (!gpu) {
      throw new AdapterError(
        'device: expected WebGPU, got none; use a browser with WebGPU, or pass { gpu } from daguerre/node',
      );
    }
    const adapter = await gpu.requestAdapter({ powerPreference: options.powerPreference });
    if (!adapter) {
      throw new AdapterError(
        'device: WebGPU is here but offers no adapter; `npx daguerre doctor` says what is missing',
      );
    }
    const lacking = (options.require ?? []).filter((f) => !adapter.features.has(f));
    if (lacking.length) {
      throw new AdapterError(
        `device: expected an adapter with ${lacking.join(', ')}, got ${describe(adapter.info)} without; ` +
          `choose another adapter or dtype: 'f32'`,
      );
    }
    const without = new Set(options.without ?? []);
    // These bring subgroups along.
    if (without.has(SUBGROUPS)) for (const feature of [MATRICES, SUBGROUP_SIZE]) without.add(feature);
    const wanted = new Set([...OPTIONAL, ...(options.require ?? [])].filter((f) => !without.has(f)));
    const requiredFeatures = [...wanted].filter((f) => adapter.features.has(f));
    const requiredLimits: Record<string, number> = {};
    const software = isSoftware(adapter.info);
    if (options.limits === 'raised' || (options.limits === 'auto' && !software)) {
      for (const name of ['maxStorageBufferBindingSize', 'maxBufferSize', 'maxComputeWorkgroupStorageSize'] as const) {
        requiredLimits[name] = adapter.limits[name];
      }
    }
    const label = options.label ?? 'daguerre';
    const asked = adapter.requestDevice({ requiredFeatures, requiredLimits, label });
    const device = await asked.catch((cause: unknown) => {
      const why = String((cause as Error).message ?? cause);
      throw new AdapterError(`device: expected one of ${describe(adapter.info)}, got none: ${why}`, { cause });
    });
    const limits = Object.fromEntries(
      Object.keys(DEFAULT_LIMITS).map((name) => [name, device.limits[name as keyof Limits]]),
    ) as unknown as Limits;
    const { subgroupMinSize: min, subgroupMaxSize: max } = adapter.info;
    // Not on processors: they have no hardware for it, and their drivers take long to compile such shaders.
    const matrices = software ? undefined : await firstRightOf(device, adapter.info);
    const caps: Capabilities = {
      matrices: matrices?.form,
      f16: device.features.has('shader-f16'),
      subgroupSize: device.features.has('subgroups') && min === max ? (min ?? 0) : 0,
      timestamps: device.features.has('timestamp-query'),
      software,
      limits,
    };
    return new Device(device, adapter.info, caps, tune, matrices?.width);
  }

  /**
   * Throws what has gone wrong since the last call, once; a lost device throws every time.
   * @throws DeviceLostError; OutOfMemoryError or ValidationError that was caught outside a scope.
   */
  check(): void {
    if (!this.failure) return;
    const error = this.failure;
    if (!(error instanceof DeviceLostError)) this.failure = undefined;
    throw error;
  }

  /** A buffer of `size` bytes (rounded up to 16), counted in {@link held}. */
  createBuffer(size: number, usage: GPUBufferUsageFlags, label: string): GPUBuffer {
    const buffer = this.gpu.createBuffer({ size: Math.max(16, Math.ceil(size / 16) * 16), usage, label });
    this.held.bytes += buffer.size;
    this.held.buffers++;
    return buffer;
  }

  /** Releases a buffer made by {@link createBuffer}. */
  destroyBuffer(buffer: GPUBuffer): void {
    this.held.bytes -= buffer.size;
    this.held.buffers--;
    buffer.destroy();
  }

  /**
   * Runs `work` with all three error scopes open.
   * @param where What messages begin with.
   * @throws OutOfMemoryError, ValidationError or DeviceLostError, whichever the GPU reports first, else what `work`
   * throws.
   */
  async scoped<T>(where: string, work: () => T | Promise<T>): Promise<T> {
    this.check();
    const { gpu } = this;
    for (const filter of ['validation', 'internal', 'out-of-memory'] as const) gpu.pushErrorScope(filter);
    let result: T | undefined;
    let thrown: unknown;
    const running = (async () => work())();
    // Scopes nest per device: they must be popped in the turn they were pushed, before another call can push its own.
    const scopes = [gpu.popErrorScope(), gpu.popErrorScope(), gpu.popErrorScope()];
    try {
      result = await running;
    } catch (error) {
      thrown = error;
    }
    const errors = await Promise.all(scopes.map((s) => s.catch(() => null)));
    this.check();
    const first = errors.find((e) => e !== null);
    if (first) throw typed(first, where);
    if (thrown) throw thrown;
    return result as T;
  }

  /**
   * Copies `size` bytes of a buffer, from byte `offset` (a multiple of 4) on, to the host.
   * @throws DeviceLostError when the device is lost before they arrive.
   */
  async read(source: GPUBuffer, size = source.size, offset = 0): Promise<ArrayBuffer> {
    this.check();
    const bytes = Math.ceil(size / 4) * 4;
    const staging = this.createBuffer(bytes, GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ, 'read-back');
    try {
      const encoder = this.gpu.createCommandEncoder({ label: 'read-back' });
      encoder.copyBufferToBuffer(source, offset, staging, 0, bytes);
      this.gpu.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ, 0, bytes).catch((error: unknown) => {
        this.check();
        throw new DeviceLostError('read-back: the buffer could not be mapped; the device is gone', { cause: error });
      });
      return staging.getMappedRange(0, bytes).slice(0, size);
    } finally {
      this.destroyBuffer(staging);
    }
  }

  /** Waits until everything submitted is done. @throws as {@link check}. */
  async idle(): Promise<void> {
    await this.gpu.queue.onSubmittedWorkDone();
    this.check();
  }

  /** Destroys the device and with it every buffer and pipeline; nothing made from it may be used afterwards. */
  dispose(): void {
    this.disposed = true;
    this.gpu.destroy();
  }
}

function noop(): void {}

/** The best of the matrix sizes that an adapter lists and multiplies correctly. */
async function firstRightOf(device: GPUDevice, info: GPUAdapterInfo): Promise<MatrixChoice | undefined> {
  if (!device.features.has(MATRICES) || !device.features.has('shader-f16')) return undefined;
  for (const choice of matrixChoices(info, matrixConfigs(info), device.features)) {
    if (await multipliesRightly(device, choice)) return choice;
  }
  return undefined;
}

/** `vendor architecture description` of an adapter, without the empty ones. */
export function describe(info: GPUAdapterInfo): string {
  return [info.vendor, info.architecture, info.device, info.description].filter(Boolean).join(' ') || 'unnamed adapter';
}

/** Whether an adapter runs on the processor. */
export function isSoftware(info: GPUAdapterInfo): boolean {
  if (info.isFallbackAdapter) return true;
  return /swiftshader|llvmpipe|lavapipe|warp|basic render/i.test(describe(info));
}

function typed(error: GPUError, where: string): DaguerreError {
  if (error instanceof GPUOutOfMemoryError) {
    return new OutOfMemoryError(`${where}: ${error.message}; use a smaller size or batch, or dtype: 'f16'`);
  }
  return new ValidationError(`${where}: ${error.message}`);
}
