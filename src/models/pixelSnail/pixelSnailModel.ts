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
import { ATTENDED, conditionFeatures, pixelSnail, rowsSeen, type PixelSnailConfig } from './pixelSnail.ts';
import { recordRow, rowMask, RowStates, type RowCall } from './pixelSnailRows.ts';
import { weightNormed } from './weightNorm.ts';

/** Features of the condition, made once; logits of a whole map; or of a row behind those above it. */
type Call =
  | { part: 'condition'; batch: number; height: number; width: number }
  | { part: 'logits'; batch: number; conditioned: boolean }
  | RowCall;

export const pixelSnailDefinition: ModelDefinition<PixelSnailConfig, Call> = {
  className: 'PixelSNAIL',
  readConfig,
  derive: weightNormed,
  hostWeights: () => ['background'],
  probes: (c) => [
    { part: 'logits', batch: 1, conditioned: c.nCondResBlock > 0 },
    ...(c.nCondResBlock > 0 ? [{ part: 'condition', batch: 1, height: 1, width: 1 } as const] : []),
  ],
  record(g: Graph, w, c, call) {
    const { batch: B } = call;
    if (call.part === 'condition') {
      const codes = fromNchw(g.input('codes', [B, c.nClass, call.height, call.width])); // [B,h,w,n]
      g.output('out', toNchw(conditionFeatures(c, w, codes)));
      return;
    }
    w.param('background', [1, 2, ...c.shape]);
    if (call.part === 'row') return recordRow(g, w, c, call);
    const [H, W] = c.shape;
    const T = H * W;
    const half = Math.floor(c.channel / 2);
    const map = (name: string, channels: number) => fromNchw(g.input(name, [B, channels, H, W])); // [B,H,W,C]
    const logits = pixelSnail(c, w, map('codes', c.nClass + 1), {
      background: map('background', 2),
      condition: call.conditioned ? map('condition', c.condResChannel) : undefined,
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
    const [batch, H, W] = this.checked('codes', codes, 1);
    const features = await this.features(options.condition, batch, options);
    const { attention, channel } = this.config;
    const [T, half] = [H * W, Math.floor(channel / 2)];
    return this.model.run(
      { part: 'logits', batch, conditioned: features !== undefined },
      {
        codes: this.oneHot(codes.data, batch, T, true),
        background: repeated(this.model.hostWeight('background'), batch),
        ...(features ? { condition: features } : {}),
        ...(attention ? { mask: causalMask(T), started: startedMap(batch * half, T, true) } : {}),
      },
      options,
    );
  }

  /**
   * Draws codes [B,H,W], pixel by pixel: the first code whose cumulative probability exceeds the pixel's draw. The
   * condition is read once, and only the pixel's row is computed: what it sees of the rows above is kept on the GPU.
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
    const call = this.row(batch);
    const states = await RowStates.open(this.model.device, this.config, call);
    try {
      for (let row = 0; row < H; row++) {
        const surroundings = this.surroundings(batch, row, features);
        for (let x = 0; x < W; x++) {
          throwIfAborted(signal, 'PixelSNAIL sample');
          const inputs = { ...surroundings, ...states.buffers, codes: this.rowsOfCodes(codes, batch, row, x) };
          const outputs = await this.model.runAll(call, inputs, options);
          const logits = await outputs.out.read();
          const pixel = row * W + x;
          for (let b = 0; b < batch; b++) {
            const own = Array.from({ length: n }, (_, k) => logits[(b * n + k) * W + x] / temperature);
            codes[b * H * W + pixel] = drawCode(own, uniforms[b * H * W + pixel]);
          }
          // No pixel looks at itself, so that the last one's evaluation knows all that the rows below see of this one.
          if (x === W - 1 && row < H - 1) states.advance(outputs);
          await onPixel?.(pixel + 1, H * W, codes);
        }
      }
      return codes;
    } finally {
      states.dispose();
    }
  }

  /** What drawing a code of each map takes here; nothing is allocated. @throws LimitError */
  plan(batch: number): Report {
    return this.model.plan(this.row(batch));
  }

  /** Where the time of drawing a code of each map goes, dispatch by dispatch. @throws as {@link sample} */
  profile(batch: number, options?: RunOptions): Promise<Profile> {
    return this.model.profile(this.row(batch), options);
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.model.weightBytes;
  }

  /** Releases programs and weights. */
  dispose(): void {
    this.model.dispose();
  }

  private row(batch: number): RowCall {
    return { part: 'row', batch, conditioned: this.config.nCondResBlock > 0 };
  }

  /** What a row reads beside codes and states. */
  private surroundings(batch: number, row: number, features: Float32Array | undefined): Record<string, Float32Array> {
    const { shape, attention, channel } = this.config;
    const [H, W] = shape;
    const half = Math.floor(channel / 2);
    const own = (map: Float32Array) => rowOf(map, map.length / (H * W), H * W, row * W, W);
    return {
      background: repeated(own(this.model.hostWeight('background')), batch),
      ...(features ? { condition: own(features) } : {}),
      ...(attention ? { mask: rowMask(shape, row), started: startedMap(batch * half, W, row === 0) } : {}),
    };
  }

  /** A row of codes up to `x` and the rows above it that the first layers see, [B,n+1,R,W], zeros beyond the map. */
  private rowsOfCodes(codes: Uint32Array, batch: number, row: number, x: number): Float32Array {
    const [H, W] = this.config.shape;
    const n = this.config.nClass;
    const seen = rowsSeen(this.config);
    const R = seen + 1;
    const out = new Float32Array(batch * (n + 1) * R * W);
    for (let b = 0; b < batch; b++) {
      for (let r = Math.max(0, row - seen); r <= row; r++) {
        const at = (r - row + seen) * W;
        out.fill(1, (b * (n + 1) + n) * R * W + at, (b * (n + 1) + n) * R * W + at + W);
        for (let i = 0; i < (r === row ? x : W); i++) {
          out[(b * (n + 1) + codes[b * H * W + r * W + i]) * R * W + at + i] = 1;
        }
      }
    }
    return out;
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
    const codes = this.oneHot(condition.data, batch, height * width);
    return (await this.model.run({ part: 'condition', batch, height, width }, { codes }, options)).read();
  }

  /** Codes of each item as [B,n,T]; with ones as [B,n+1,T]. */
  private oneHot(codes: ArrayLike<number>, batch: number, T: number, ones = false): Float32Array {
    const n = this.config.nClass + (ones ? 1 : 0);
    const out = new Float32Array(batch * n * T);
    for (let b = 0; b < batch; b++) {
      for (let t = 0; t < T; t++) out[(b * n + codes[b * T + t]) * T + t] = 1;
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

/** 0 at a map's first pixel, which has nothing to look at, where that is among them; 1 elsewhere. */
function startedMap(channels: number, T: number, first: boolean): Float32Array {
  return Float32Array.from({ length: channels * T }, (_, i) => +(!first || i % T > 0));
}

/** `count` of `all` values of each channel. */
function rowOf(map: Float32Array, channels: number, all: number, from: number, count: number): Float32Array {
  const out = new Float32Array(channels * count);
  for (let c = 0; c < channels; c++) out.set(map.subarray(c * all + from, c * all + from + count), c * count);
  return out;
}

function repeated(item: Float32Array, batch: number): Float32Array {
  const out = new Float32Array(batch * item.length);
  for (let b = 0; b < batch; b++) out.set(item, b * item.length);
  return out;
}
