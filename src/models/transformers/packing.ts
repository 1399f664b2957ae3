/** Latents as Flux sees them: two by two pixels become one token, channels first. On the host. */
import { formatShape, InvalidArgumentError, numel } from '../../engine/index.ts';

/** Side of the square that becomes a token. */
const SIDE = 2;

/** Values with their shape. */
export interface HostTensor {
  data: Float32Array;
  shape: readonly number[];
}

/**
 * Latents [B,C,H,W] → tokens [B,(H/2)·(W/2),4·C].
 * @throws InvalidArgumentError unless height and width are even.
 */
export function packLatents({ data, shape }: HostTensor): HostTensor {
  const [B, C, H, W] = shape;
  if (shape.length !== 4 || H % SIDE !== 0 || W % SIDE !== 0 || data.length !== numel(shape)) {
    throw new InvalidArgumentError(
      `packLatents: expected latents [B,C,H,W] of even height and width, got ${formatShape(shape)} and ` +
        `${data.length} values`,
    );
  }
  const packed = new Float32Array(data.length);
  eachPixel(shape, (latent, token) => (packed[token] = data[latent]));
  return { data: packed, shape: [B, (H * W) / SIDE ** 2, C * SIDE ** 2] };
}

/**
 * Tokens [B,(H/2)·(W/2),4·C] → latents [B,C,H,W].
 * @param size height and width of the latents, even
 * @throws InvalidArgumentError when the tokens are not those of such latents.
 */
export function unpackLatents({ data, shape }: HostTensor, size: { height: number; width: number }): HostTensor {
  const [B, T, N] = shape;
  const { height: H, width: W } = size;
  const C = N / SIDE ** 2;
  if (shape.length !== 3 || H % SIDE !== 0 || W % SIDE !== 0 || T * SIDE ** 2 !== H * W || !Number.isInteger(C)) {
    throw new InvalidArgumentError(
      `unpackLatents: expected tokens [B,${(H * W) / SIDE ** 2},4·C] for latents of ${H}×${W}, got ${formatShape(shape)}`,
    );
  }
  const latents = new Float32Array(data.length);
  eachPixel([B, C, H, W], (latent, token) => (latents[latent] = data[token]));
  return { data: latents, shape: [B, C, H, W] };
}

/** Index of every element in latents and in tokens. */
function eachPixel([B, C, H, W]: readonly number[], visit: (latent: number, token: number) => void): void {
  const columns = W / SIDE;
  for (let bc = 0; bc < B * C; bc++) {
    const [b, c] = [Math.floor(bc / C), bc % C];
    for (let y = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        const token = (b * (H / SIDE) + Math.floor(y / SIDE)) * columns + Math.floor(x / SIDE);
        const channel = (c * SIDE + (y % SIDE)) * SIDE + (x % SIDE);
        visit((bc * H + y) * W + x, token * C * SIDE ** 2 + channel);
      }
    }
  }
}

/** Positions [rows·columns, axes] of packed latents: 0, row, column, as Flux counts them; 0 on any further axis. */
export function fluxImageIds(rows: number, columns: number, axes = 3): Float32Array {
  const ids = new Float32Array(rows * columns * axes);
  for (let t = 0; t < rows * columns; t++) {
    if (axes > 1) ids[t * axes + 1] = Math.floor(t / columns);
    if (axes > 2) ids[t * axes + 2] = t % columns;
  }
  return ids;
}
