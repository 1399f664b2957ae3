/** PixelSNAIL on a device: logits of a whole map, and codes drawn one after the other. */
import {
  InvalidArgumentError,
  throwIfAborted,
  type Device,
  type Graph,
  type Profile,
  type Report,
} from '../../engine/index.ts';
import { expectIds, fromNchw, reshape, toNchw } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { LoadedModel, type ModelDefinition } from '../loadedModel.ts';
import type { ModelOutput, RunOptions } from '../modelRuntime.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { conditionFeatures, pixelSnail, type PixelSnailConfig } from './pixelSnail.ts';
import { weightNormed } from './weightNorm.ts';

/** Features of the condition, made once; or logits of the first rows of a map. */
type Call = { batch: number } & (
  { part: 'condition'; height: number; width: number } | { part: 'logits'; rows: number; conditioned: boolean }
);

const ATTENDED = -1e30;

export const pixelSnailDefinition: ModelDefinition<PixelSnailConfig, Call> = {
  className: 'PixelSNAIL',
  readConfig,
  derive: weightNormed,
  hostWeights: () => ['background'],
  probes: (c) => [
    { part: 'logits', batch: 1, rows: 1, conditioned: c.nCondResBlock > 0 },
    ...(c.nCondResBlock > 0 ? [{ part: 'condition', batch: 1, height: 1, width: 1 } as const] : []),
  ],
  record(g: Graph, w, c, call) {
    const { batch: B } = call;
    if (call.part === 'condition') {
      const codes = fromNchw(g.input('codes', [B, c.nClass, call.height, call.width])); // [B,h,w,n]
      g.output('out', toNchw(conditionFeatures(c, w, codes)));
      return;
    }
    const [, W] = c.shape;
    const { rows: H, conditioned } = call;
    const T = H * W;
    const half = Math.floor(c.channel / 2);
    w.param('background', [1, 2, ...c.shape]);
    const map = (name: string, channels: number) => fromNchw(g.input(name, [B, channels, H, W])); // [B,H,W,C]
    const logits = pixelSnail(c, w, map('codes', c.nClass + 1), {
      background: map('background', 2),
      condition: conditioned ? map('condition', c.condResChannel) : undefined,
      ...(c.attention
        ? {
            mask: g.input('mask', [1, T, T]),
            started: reshape(map('started', half), [B, T, half]),
          }
        : {}),
    });
    g.output('out', toNchw(logits));
  },
};

function readConfig(raw: RawConfig): PixelSnailConfig {
  const cfg = new ConfigReader(raw, 'PixelSNAIL');
  cfg.ignored(['dropout']);
  const [height, width] = cfg.intArray('shape', undefined, { length: 2, min: 1 });
  const config = {
    shape: [height, width] as const,
    nClass: cfg.int('n_class', undefined, { min: 1 }),
    channel: cfg.int('channel', undefined, { min: 1 }),
    kernelSize: cfg.int('kernel_size', undefined, { min: 2 }),
    nBlock: cfg.int('n_block', undefined, { min: 0 }),
    nResBlock: cfg.int('n_res_block', undefined, { min: 0 }),
    resChannel: cfg.int('res_channel', undefined, { min: 1 }),
    attention: cfg.bool('attention', true),
    nCondResBlock: cfg.int('n_cond_res_block', 0, { min: 0 }),
    condResChannel: cfg.int('cond_res_channel', 0, { min: 0 }),
    condResKernel: cfg.int('cond_res_kernel', 3, { min: 1 }),
    nOutResBlock: cfg.int('n_out_res_block', 0, { min: 0 }),
  };
  if (config.kernelSize % 2 === 0) cfg.refuse('kernel_size', 'odd: with an even one the causal layers change the size');
  cfg.done();
  return config;
}

/** Codes of a map in raster order. */
export interface CodeMap {
  data: ArrayLike<number>;
  /** [B,H,W] */
  shape: readonly number[];
}

/** How codes are drawn. */
export interface PixelSnailSampling extends RunOptions {
  batch: number;
  /** Codes of the level above, at half the size; for a prior with a condition. */
  condition?: CodeMap;
  /** Uniform draws in [0, 1), [B,H,W]. */
  uniforms: ArrayLike<number>;
  /** Divides the logits; default 1. */
  temperature?: number;
  /** Called with the number of pixels done and the codes so far, 0 where none is drawn yet; awaited. */
  onPixel?: (done: number, all: number, codes: Uint32Array) => void | Promise<void>;
}

/** A prior over maps of codes. */
export class PixelSnail {
  private constructor(private readonly model: LoadedModel<PixelSnailConfig, Call>) {}

  /** @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<PixelSnail> {
    return new PixelSnail(await LoadedModel.load(device, source, pixelSnailDefinition, options));
  }

  get config(): PixelSnailConfig {
    return this.model.config;
  }

  /**
   * codes [B,H,W] (and the condition's, [B,H/2,W/2]) → logits [B,n,H,W], each from the codes before it.
   * @throws InvalidArgumentError for codes or shapes that do not fit; AbortedError, DeviceLostError, OutOfMemoryError
   */
  async logits(codes: CodeMap, options: RunOptions & { condition?: CodeMap } = {}): Promise<ModelOutput> {
    const [batch, height] = this.checked('codes', codes, 1);
    const features = await this.features(options.condition, batch, options);
    return this.run(codes.data, batch, height, features, options);
  }

  /**
   * Draws codes [B,H,W], pixel by pixel: the first code whose cumulative probability exceeds the pixel's draw. The
   * condition is read once, and only the upper parts of the map that hold the pixel are computed.
   * @throws InvalidArgumentError for draws or a condition that do not fit; AbortedError between pixels
   */
  async sample(options: PixelSnailSampling): Promise<Uint32Array> {
    const { batch, uniforms, temperature = 1, onPixel, signal } = options;
    const [H, W] = this.config.shape;
    const n = this.config.nClass;
    if (uniforms.length !== batch * H * W || !(temperature > 0)) {
      throw new InvalidArgumentError(
        `PixelSNAIL sample: expected ${batch * H * W} uniforms and a temperature above 0, got ${uniforms.length} and ` +
          `${temperature}`,
      );
    }
    const features = await this.features(options.condition, batch, options);
    const codes = new Uint32Array(batch * H * W);
    for (let pixel = 0; pixel < H * W; pixel++) {
      throwIfAborted(signal, 'PixelSNAIL sample');
      const rows = this.rowsFor(Math.floor(pixel / W) + 1);
      const logits = await (await this.run(codes, batch, rows, features, options)).read();
      for (let b = 0; b < batch; b++) {
        const row = Array.from({ length: n }, (_, k) => logits[(b * n + k) * rows * W + pixel] / temperature);
        codes[b * H * W + pixel] = drawCode(row, uniforms[b * H * W + pixel]);
      }
      await onPixel?.(pixel + 1, H * W, codes);
    }
    return codes;
  }

  /** What the logits of whole maps take here; nothing is allocated. @throws LimitError */
  plan(batch: number): Report {
    return this.model.plan(this.whole(batch));
  }

  /** Where the time of {@link logits} goes, dispatch by dispatch. @throws as there */
  profile(batch: number, options?: RunOptions): Promise<Profile> {
    return this.model.profile(this.whole(batch), options);
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.model.weightBytes;
  }

  /** Releases programs and weights. */
  dispose(): void {
    this.model.dispose();
  }

  /** Rows to compute for the first `rows` of them: thirds of the map, since each number of rows is a program to compile. */
  private rowsFor(rows: number): number {
    const [H] = this.config.shape;
    return Math.ceil((Math.ceil((3 * rows) / H) * H) / 3);
  }

  private whole(batch: number): Call {
    return { part: 'logits', batch, rows: this.config.shape[0], conditioned: this.config.nCondResBlock > 0 };
  }

  /** Features of the condition on the host, [B,Cc,H,W]; undefined without one. */
  private async features(
    condition: CodeMap | undefined,
    batch: number,
    options: RunOptions,
  ): Promise<Float32Array | undefined> {
    const wanted = this.config.nCondResBlock > 0;
    if (wanted !== (condition !== undefined)) {
      const what = wanted ? 'a condition, at half the size' : 'no condition';
      throw new InvalidArgumentError(`PixelSNAIL: expected ${what}, got ${condition ? 'one' : 'none'}`);
    }
    if (!condition) return undefined;
    const [B, height, width] = this.checked('condition', condition, 2);
    if (B !== batch) throw new InvalidArgumentError(`PixelSNAIL: expected ${batch} conditions, got ${B}`);
    const codes = this.oneHot(condition.data, batch, height * width, height * width);
    return (await this.model.run({ part: 'condition', batch, height, width }, { codes }, options)).read();
  }

  private run(
    codes: ArrayLike<number>,
    batch: number,
    rows: number,
    features: Float32Array | undefined,
    options: RunOptions,
  ): Promise<ModelOutput> {
    const [H, W] = this.config.shape;
    const T = rows * W;
    const call: Call = { part: 'logits', batch, rows, conditioned: features !== undefined };
    const half = Math.floor(this.config.channel / 2);
    return this.model.run(
      call,
      {
        codes: this.oneHot(codes, batch, codes.length / batch, T, true),
        background: repeated(cropped(this.model.hostWeight('background'), 2, H * W, T), batch),
        ...(features ? { condition: cropped(features, features.length / (H * W), H * W, T) } : {}),
        ...(this.config.attention
          ? { mask: causalMask(T), started: Float32Array.from({ length: batch * half * T }, (_, i) => +(i % T > 0)) }
          : {}),
      },
      options,
    );
  }

  /** The first `T` codes of each item as [B,n,T]; with ones as [B,n+1,T]. */
  private oneHot(codes: ArrayLike<number>, batch: number, each: number, T: number, ones = false): Float32Array {
    const n = this.config.nClass + (ones ? 1 : 0);
    const out = new Float32Array(batch * n * T);
    for (let b = 0; b < batch; b++) {
      for (let t = 0; t < T; t++) out[(b * n + codes[b * each + t]) * T + t] = 1;
      if (ones) out.fill(1, (b * n + n - 1) * T, (b + 1) * n * T);
    }
    return out;
  }

  /** Batch, height and width of codes at 1/divisor of the map's size. @throws InvalidArgumentError */
  private checked(name: string, { data, shape }: CodeMap, divisor: number): [number, number, number] {
    const [B, height, width] = shape;
    const [H, W] = this.config.shape.map((side) => side / divisor);
    if (shape.length !== 3 || height !== H || width !== W || data.length !== B * H * W) {
      throw new InvalidArgumentError(
        `PixelSNAIL: expected ${name} [B,${H},${W}], got [${shape.join(',')}] and ${data.length} codes`,
      );
    }
    expectIds(`PixelSNAIL ${name}`, data, this.config.nClass);
    return [B, height, width];
  }
}

/** The first code whose cumulative probability exceeds u, in f64; the last one where rounding leaves none. */
export function drawCode(logits: readonly number[], u: number): number {
  const cumulative = cumulativeOf(logits);
  const found = cumulative.findIndex((p) => p > u);
  return found < 0 ? logits.length - 1 : found;
}

/** Cumulative softmax of logits, in f64. */
export function cumulativeOf(logits: readonly number[]): number[] {
  const most = Math.max(...logits);
  const weights = logits.map((v) => Math.exp(v - most));
  const total = weights.reduce((a, b) => a + b);
  let sum = 0;
  return weights.map((v) => (sum += v / total));
}

/** 0 where a pixel looks at one before it, far below elsewhere, [1,T,T]. */
function causalMask(T: number): Float32Array {
  return Float32Array.from({ length: T * T }, (_, i) => (i % T < Math.floor(i / T) ? 0 : ATTENDED));
}

/** The first `T` of `all` values of each channel. */
function cropped(map: Float32Array, channels: number, all: number, T: number): Float32Array {
  const out = new Float32Array(channels * T);
  for (let c = 0; c < channels; c++) out.set(map.subarray(c * all, c * all + T), c * T);
  return out;
}

function repeated(item: Float32Array, batch: number): Float32Array {
  const out = new Float32Array(batch * item.length);
  for (let b = 0; b < batch; b++) out.set(item, b * item.length);
  return out;
}
