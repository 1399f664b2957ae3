/**
 * Calls of an autoencoder that would not fit the device, split: into single items, which changes nothing, or into
 * tiles.
 */
import { LimitError, numel, type Device, type Report } from '../engine/index.ts';
import type { ModelOutput, RunOptions, TensorInput } from './modelRuntime.ts';
import { runTiles, tileGrid, tileSpans, type HostValues, type TilingOptions } from './tiling.ts';

/**
 * When pictures go in tiles: `auto`, where they do not fit the device's limits otherwise, in the largest tiles that do;
 * with sizes, wherever they are larger than a tile; `off`, never.
 */
export type Tiling = 'auto' | 'off' | TilingOptions;

/** How a call is split. */
export interface Split {
  /** `items` gives the same result; see {@link runTiles} for `tiles`. */
  into: 'items' | 'tiles';
  /** Calls of the network in place of one. */
  calls: number;
  /** Side of a tile in pixels, and what it shares with the next. */
  tileSize?: number;
  overlap?: number;
}

/** What a call takes, as it is split; the programs of all its forms exist side by side. */
export interface SplitReport extends Report {
  split?: Split;
}

/** One direction of an autoencoder. */
export interface Direction {
  encode: boolean;
  /** Pixels per latent cell along each side. */
  cell: number;
  /** Side of a tile, untold, in pixels. */
  tileSize: number;
  run(input: TensorInput, options: RunOptions): Promise<ModelOutput>;
  /** Of a shape [B,C,H,W] of what goes in. @throws LimitError */
  plan(shape: readonly number[]): Report;
}

/** Latent cells along a tile that is worth trying: below, a result is mostly seams. */
const LEAST_CELLS = 8;
/** Tiles that share a quarter are multiples of it. */
const QUARTERS = 4;

/** The calls of one autoencoder. */
export class SplitCalls {
  tiling: Tiling = 'auto';
  /** By direction and shape, what did not fit. */
  private readonly found = new Map<string, Split>();
  private output: GPUBuffer | undefined;

  constructor(private readonly device: Device) {}

  /**
   * Runs a call, split where it has to be; the result is valid until the next one.
   * @throws as the direction's `run`; LimitError where no tile fits, InvalidArgumentError for tiles that do not divide
   */
  async run(direction: Direction, input: TensorInput, options: RunOptions): Promise<ModelOutput> {
    const wanted = this.wanted(direction, input.shape);
    if (wanted) return this.split(direction, wanted, input, options);
    try {
      return await direction.run(input, options);
    } catch (error) {
      if (!(error instanceof LimitError) || this.tiling === 'off') throw error;
      return this.split(direction, this.fit(direction, input.shape, error), input, options);
    }
  }

  /** What a call takes. @throws LimitError where it does not fit and may not be split, or no tile fits; ShapeError */
  plan(direction: Direction, shape: readonly number[]): SplitReport {
    const wanted = this.wanted(direction, shape);
    if (wanted) return this.planSplit(direction, wanted, shape);
    try {
      return direction.plan(shape);
    } catch (error) {
      if (!(error instanceof LimitError) || this.tiling === 'off') throw error;
      return this.planSplit(direction, this.fit(direction, shape, error), shape);
    }
  }

  /** Releases what the last split call left. */
  dispose(): void {
    if (this.output) this.device.destroyBuffer(this.output);
    this.output = undefined;
  }

  /** What is asked for, or known to be needed. */
  private wanted(direction: Direction, shape: readonly number[]): Split | undefined {
    const { tiling } = this;
    if (tiling === 'off') return undefined;
    if (tiling === 'auto') return this.found.get(keyOf(direction, shape));
    const { tileSize = direction.tileSize, overlap = 0.25 } = tiling;
    const { size } = tileGrid({ tileSize, overlap }, direction.cell, direction.encode);
    if (shape[2] <= size && shape[3] <= size) return undefined;
    return tilesOf(direction, shape, { tileSize, overlap });
  }

  /** The coarsest split that fits. @throws the error where none does */
  private fit(direction: Direction, shape: readonly number[], error: LimitError): Split {
    const key = keyOf(direction, shape);
    const known = this.found.get(key);
    if (known) return known;
    const [B, C, H, W] = shape;
    const keep = (split: Split) => {
      if (this.tiling === 'auto') this.found.set(key, split);
      return split;
    };
    if (B > 1 && fits(direction, [1, C, H, W])) return keep({ into: 'items', calls: B });
    const { cell, encode } = direction;
    const longest = Math.max(H, W) / (encode ? cell : 1);
    const quarters = (cells: number) => QUARTERS * Math.floor(cells / QUARTERS);
    for (
      let cells = quarters(Math.min(direction.tileSize / cell, longest));
      cells >= LEAST_CELLS;
      cells = quarters((3 * cells) / 4)
    ) {
      const side = encode ? cells * cell : cells;
      if (!fits(direction, [1, C, Math.min(side, H), Math.min(side, W)])) continue;
      return keep(tilesOf(direction, shape, { tileSize: cells * cell, overlap: 0.25 }));
    }
    throw error;
  }

  private planSplit(direction: Direction, split: Split, shape: readonly number[]): SplitReport {
    const forms = formsOf(direction, split, shape).map(({ shape, times }) => ({
      report: direction.plan(shape),
      times,
    }));
    const largest = forms.map(({ report }) => report.largestBinding).sort((a, b) => b.bytes - a.bytes)[0];
    const sum = (of: (form: (typeof forms)[number]) => number) => forms.reduce((n, form) => n + of(form), 0);
    return {
      ...forms[0].report,
      peakBytes: sum(({ report }) => report.peakBytes),
      dispatches: sum(({ report, times }) => times * report.dispatches),
      flops: sum(({ report, times }) => times * report.flops),
      largestBinding: largest,
      split,
    };
  }

  private async split(
    direction: Direction,
    split: Split,
    input: TensorInput,
    options: RunOptions,
  ): Promise<ModelOutput> {
    const values = { data: await this.host(input), shape: input.shape };
    const run = async (tile: HostValues): Promise<HostValues> => {
      const out = await direction.run(tile, options);
      return { data: await out.read(), shape: out.shape };
    };
    const { data, shape } = await runTiles(values, gridOf(direction, split, input.shape), run);
    this.dispose();
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const buffer = await this.device.scoped('tiles', () =>
      this.device.createBuffer(4 * data.length, STORAGE | COPY_SRC | COPY_DST, 'joined tiles'),
    );
    this.output = buffer;
    this.device.gpu.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
    return { shape, buffer, read: async () => data.slice() };
  }

  private async host({ data, shape }: TensorInput): Promise<Float32Array> {
    if (data instanceof Float32Array) return data;
    const parts = Array.isArray(data) ? (data as GPUBuffer[]) : [data as GPUBuffer];
    const values = new Float32Array(numel(shape));
    const count = values.length / parts.length;
    for (const [i, part] of parts.entries()) {
      values.set(new Float32Array(await this.device.read(part, 4 * count)), i * count);
    }
    return values;
  }
}

function fits(direction: Direction, shape: readonly number[]): boolean {
  try {
    direction.plan(shape);
    return true;
  } catch (error) {
    if (error instanceof LimitError) return false;
    throw error;
  }
}

/** Items are tiles as large as they are. */
function gridOf({ cell, encode }: Direction, { into, ...tiles }: Split, [, , H, W]: readonly number[]) {
  if (into === 'tiles') return tileGrid(tiles, cell, encode);
  const size = Math.max(H, W);
  return { size, step: size, kept: encode ? Math.ceil(size / cell) : size * cell, blend: 0 };
}

function tilesOf(direction: Direction, shape: readonly number[], tiles: Required<TilingOptions>): Split {
  const split: Split = { into: 'tiles', calls: 0, ...tiles };
  const grid = gridOf(direction, split, shape);
  return { ...split, calls: shape[0] * tileSpans(shape[2], grid).length * tileSpans(shape[3], grid).length };
}

/** Shapes of a split call's parts, and how many there are of each. */
function formsOf(direction: Direction, split: Split, shape: readonly number[]) {
  const [B, C, H, W] = shape;
  const grid = gridOf(direction, split, shape);
  const forms = new Map<string, { shape: number[]; times: number }>();
  for (const { length: h } of tileSpans(H, grid)) {
    for (const { length: w } of tileSpans(W, grid)) {
      const form = forms.get(`${h}×${w}`) ?? { shape: [1, C, h, w], times: 0 };
      form.times += B;
      forms.set(`${h}×${w}`, form);
    }
  }
  return [...forms.values()];
}

const keyOf = ({ encode }: Direction, shape: readonly number[]) => `${encode ? 'encode' : 'decode'} ${shape.join()}`;
