/**
 * PixelSNAIL by rows: one row of the map is computed, and what the rows above it left behind is kept on the GPU: of
 * every causal convolution the rows that it sees, of every attention the keys and values of all pixels so far.
 */
import { Graph, type Device } from '../../engine/index.ts';
import { concat, fromNchw, reshape, slice, toNchw } from '../../kernels/index.ts';
import type { ModelOutputs } from '../modelRuntime.ts';
import { joinTokens, takeTokens, toDense } from '../transformers/tokens.ts';
import { WeightScope } from '../weightScope.ts';
import { ATTENDED, pixelSnail, rowsSeen, type PixelSnailConfig, type RowsAbove } from './pixelSnail.ts';

/** A row of so many maps, with or without features of a condition. */
export interface RowCall {
  part: 'row';
  batch: number;
  conditioned: boolean;
}

const STATE = 'state';

/**
 * Inputs `codes` [B,n+1,R,W] of the row and those above it that the first layers see, `background`, `condition`
 * [B,C,1,W], `mask` [1,W,T+W], `started` [B,C/2,1,W], `stateI`; outputs `out` [B,n,1,W], and the states for the row
 * below.
 */
export function recordRow(g: Graph, w: WeightScope, c: PixelSnailConfig, { batch: B, conditioned }: RowCall): void {
  const [H, W] = c.shape;
  const half = Math.floor(c.channel / 2);
  let count = 0;
  /** Joins a state of that length with what comes behind it, and keeps the end of both. */
  const behind = (length: number, x: ReturnType<typeof concat>) => {
    const name = `${STATE}${count++}`;
    const all = concat(fromNchw(g.input(name, [B, length])), x); // [B,length+L]
    g.output(name, toDense(slice(all, x.shape[1], x.shape[1] + length)));
    return all;
  };
  const above: RowsAbove = {
    rows(x, rows) {
      const C = x.shape[3];
      if (rows === 0) return x;
      return reshape(behind(rows * W * C, reshape(x, [B, W * C])), [B, rows + 1, W, C]); // [B,rows+1,W,C]
    },
    tokens(x) {
      const C = x.shape[2];
      const name = `${STATE}${count++}`;
      const before = reshape(fromNchw(g.input(name, [B * H * W, C])), [B, H * W, C]); // [B,T,C]
      const all = joinTokens(before, x); // [B,T+W,C]
      g.output(name, toDense(takeTokens(all, W, W + H * W)));
      return all;
    },
  };
  const map = (name: string, channels: number, R = 1) => fromNchw(g.input(name, [B, channels, R, W])); // [B,R,W,C]
  const logits = pixelSnail(c, w, map('codes', c.nClass + 1, rowsSeen(c) + 1), {
    above,
    background: map('background', 2),
    condition: conditioned ? map('condition', c.condResChannel) : undefined,
    ...(c.attention
      ? { mask: g.input('mask', [1, W, H * W + W]), started: reshape(map('started', half), [B, W, half]) }
      : {}),
  });
  g.output('out', toNchw(logits));
}

/** Where a pixel of a row looks: at itself never, at those before it, of which the last r·W keys are of rows above. */
export function rowMask([H, W]: PixelSnailConfig['shape'], row: number): Float32Array {
  const T = H * W;
  return Float32Array.from({ length: W * (T + W) }, (_, i) => {
    const [x, key] = [Math.floor(i / (T + W)), i % (T + W)];
    const seen = key < T ? key >= T - row * W : key - T < x;
    return seen ? 0 : ATTENDED;
  });
}

/** What is kept from row to row, zeros above the first one. */
export class RowStates {
  private constructor(
    private readonly device: Device,
    /** By the name of the input. */
    readonly buffers: Readonly<Record<string, GPUBuffer>>,
  ) {}

  /** @throws OutOfMemoryError, DeviceLostError */
  static async open(device: Device, config: PixelSnailConfig, call: RowCall): Promise<RowStates> {
    const g = new Graph('f32');
    recordRow(g, new WeightScope(), config, call);
    const buffers: Record<string, GPUBuffer> = {};
    const states = new RowStates(device, buffers);
    try {
      await device.scoped('PixelSNAIL', () => {
        for (const [name, { shape }] of g.inputs) {
          if (!name.startsWith(STATE)) continue;
          const bytes = 4 * shape.reduce((a, b) => a * b);
          const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
          buffers[name] = device.createBuffer(bytes, usage, `PixelSNAIL ${name}`);
        }
      });
    } catch (error) {
      states.dispose();
      throw error;
    }
    return states;
  }

  /** Takes over what the last call of a row says of the next one. */
  advance(outputs: ModelOutputs): void {
    const encoder = this.device.gpu.createCommandEncoder({ label: 'PixelSNAIL row' });
    for (const [name, buffer] of Object.entries(this.buffers)) {
      const { shape, buffer: next } = outputs[name];
      encoder.copyBufferToBuffer(next, 0, buffer, 0, 4 * shape.reduce((a, b) => a * b));
    }
    this.device.gpu.queue.submit([encoder.finish()]);
  }

  /** Releases the buffers. */
  dispose(): void {
    for (const buffer of Object.values(this.buffers)) this.device.destroyBuffer(buffer);
  }
}
