/**
 * The shapes of the kernel suite, each taken from a network that people run: Stable Diffusion 1.5 at 512² (Rombach et
 * al. 2022), its autoencoder's decoder, SDXL at 1024² (Podell et al. 2023), DiT-S/2 and DiT-XL/2 at 256² (Peebles & Xie
 * 2023), ddpm-cifar10-32 (Ho et al. 2020), and the emoji pipeline of this package.
 */
import type { Problem } from './problem.ts';

export interface Shape {
  /** Behind the group's name and a slash. */
  id: string;
  problem: Problem;
  /** Small enough for `--quick`. */
  quick?: boolean;
}

const matmul = (from: string, M: number, K: number, N: number, quick?: boolean): Shape => ({
  id: `${from}-${M}x${K}x${N}`,
  problem: { op: 'matmul', M, N, K },
  quick,
});

/** A 3×3 convolution that keeps the size, or halves it with the asymmetric padding of the field. */
const conv = (from: string, size: number, I: number, O: number, { stride = 1, quick = false } = {}): Shape => ({
  id: `${from}-${size}x${size}x${I}-${O}${stride === 1 ? '' : `-s${stride}`}`,
  problem: {
    op: 'conv2d',
    ...{ B: 1, H: size, W: size, I, O, R: 3, S: 3, stride },
    ...(stride === 1 ? { top: 1, left: 1, bottom: 1, right: 1 } : { top: 0, left: 0, bottom: 1, right: 1 }),
  },
  quick,
});

const groupNorm = (from: string, size: number, C: number, groups = 32, quick?: boolean): Shape => ({
  id: `${from}-${size}x${size}x${C}`,
  problem: { op: 'groupNorm', B: 1, H: size, W: size, C, groups, eps: 1e-5 },
  quick,
});

const layerNorm = (from: string, M: number, D: number, quick?: boolean): Shape => ({
  id: `${from}-${M}x${D}`,
  problem: { op: 'layerNorm', M, D, eps: 1e-5 },
  quick,
});

const attention = (from: string, T: number, S: number, heads: number, d: number, quick?: boolean): Shape => ({
  id: `${from}-${T}x${S}-${heads}h${d}`,
  problem: { op: 'attention', B: 1, T, S, heads, d },
  quick,
});

const elementwise = (kind: 'silu' | 'add' | 'scaleShift', size: number, C: number, quick?: boolean): Shape => ({
  id: `${kind}-${size}x${size}x${C}`,
  problem: { op: 'elementwise', kind, B: 1, H: size, W: size, C },
  quick,
});

export const SHAPES: readonly Shape[] = [
  matmul('cube', 64, 64, 64, true),
  matmul('cube', 512, 512, 512),
  matmul('cube', 1024, 1024, 1024),
  matmul('cube', 2048, 2048, 2048),
  matmul('cube', 4096, 4096, 4096),
  matmul('sd15-projection', 4096, 320, 320),
  matmul('sd15-projection', 256, 1280, 1280),
  matmul('sd15-feedforward', 4096, 320, 2560),
  matmul('sd15-feedforward', 256, 1280, 5120),
  matmul('sd15-text', 77, 768, 1280),
  matmul('sd15-time', 2, 1280, 1280),
  matmul('cifar10-attention', 256, 256, 256),
  matmul('emoji-attention', 64, 96, 96),
  matmul('sdxl-projection', 1024, 1280, 1280),
  matmul('sdxl-feedforward', 1024, 1280, 10240),
  matmul('dit-s-feedforward', 256, 384, 1536),
  matmul('dit-xl-projection', 256, 1152, 1152),
  matmul('dit-xl-feedforward', 256, 1152, 4608),

  conv('emoji', 8, 96, 96, { quick: true }),
  conv('emoji', 16, 64, 64),
  conv('emoji-vae', 64, 32, 32),
  conv('cifar10', 32, 3, 128),
  conv('cifar10', 32, 128, 128),
  conv('cifar10', 32, 128, 128, { stride: 2 }),
  conv('cifar10', 16, 256, 256),
  conv('cifar10', 8, 512, 256),
  conv('cifar10', 4, 256, 256),
  conv('sd15', 64, 4, 320),
  conv('sd15', 64, 320, 320),
  conv('sd15', 64, 320, 320, { stride: 2 }),
  conv('sd15', 32, 640, 640),
  conv('sd15', 8, 1280, 1280),
  conv('sdxl', 128, 320, 320),
  conv('sdxl', 128, 320, 320, { stride: 2 }),
  conv('sdxl', 32, 1280, 1280),
  conv('vae', 16, 512, 512),
  conv('vae', 64, 128, 128),
  conv('vae', 64, 512, 512),
  conv('vae', 128, 128, 3),
  conv('vae', 512, 128, 128),

  groupNorm('emoji', 16, 64, 16, true),
  groupNorm('cifar10', 32, 128),
  groupNorm('cifar10', 16, 256),
  groupNorm('sd15', 64, 320),
  groupNorm('sd15', 8, 1280),
  groupNorm('sdxl', 128, 320),
  groupNorm('sdxl', 32, 1280),
  groupNorm('vae', 64, 512),
  groupNorm('vae', 128, 128),
  groupNorm('vae', 512, 128),

  layerNorm('sd15', 256, 1280, true),
  layerNorm('sd15', 4096, 320),
  layerNorm('sdxl', 1024, 1280),
  layerNorm('dit-xl', 256, 1152),
  layerNorm('clip', 77, 768),

  attention('emoji', 64, 64, 3, 32, true),
  attention('cifar10', 256, 256, 1, 256),
  attention('vae', 256, 256, 1, 512),
  attention('vae', 1024, 1024, 1, 512),
  attention('vae', 4096, 4096, 1, 512),
  attention('sd15-self', 4096, 4096, 8, 40),
  attention('sd15-self', 256, 256, 8, 160),
  attention('sd15-self', 64, 64, 8, 160),
  attention('sdxl-self', 4096, 4096, 10, 64),
  attention('sdxl-self', 1024, 1024, 20, 64),
  attention('sdxl-cross', 1024, 77, 20, 64),
  attention('dit-s', 256, 256, 6, 64),
  attention('dit-xl', 256, 256, 16, 72),
  attention('sd15-cross', 4096, 77, 8, 40),
  attention('sd15-cross', 1024, 77, 8, 80),

  elementwise('silu', 16, 64, true),
  elementwise('silu', 64, 320),
  elementwise('add', 64, 320),
  elementwise('scaleShift', 64, 320),
  elementwise('scaleShift', 16, 1152),
  elementwise('add', 512, 128),
];
