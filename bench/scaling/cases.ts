/**
 * One thing grows and the rest stays: resolution, batch, width, tokens. What is put on the axis doubles from point to
 * point, so that a straight line on logarithmic paper is a power.
 */
import { Weights } from '../../src/engine/index.ts';
import type { BenchCase } from '../case.ts';
import { kernelCase } from '../kernels/cases.ts';
import type { Problem } from '../kernels/problem.ts';
import { modelCase } from '../models/modelCase.ts';
import { PUBLISHED, recordModel, type PublishedModel } from '../models/published.ts';
import { ProgramSubject } from '../programSubject.ts';
import { seededWeights } from '../seeded.ts';
import { MismatchError } from '../verify.ts';
import type { GrowthCase } from './growth.ts';

type Dtype = 'f32' | 'f16';

interface Growth {
  id: string;
  curve: string;
  axis: string;
  theory: GrowthCase['theory'];
  xs: readonly number[];
}

const kernelGrowth = (growth: Growth, problem: (x: number) => Problem) => (dtype: Dtype) =>
  growth.xs.map((x): BenchCase => {
    const { peerWork: _, ...rest } = kernelCase({ id: `${x}`, problem: problem(x) }, dtype);
    return placed(rest, growth, x);
  });

const modelGrowth = (growth: Growth, model: (x: number) => PublishedModel) => (dtype: Dtype) =>
  growth.xs.map((x): BenchCase => {
    const { graph } = recordModel(model(x), dtype);
    const rest = modelCase({ group: growth.id, id: `${x}`, dtype, graph }, async (device) => {
      const { inputs, wanted } = recordModel(model(x), dtype);
      const source = seededWeights(wanted);
      source.prepare();
      const weights = new Weights(device, source);
      return new ProgramSubject(device, {
        graph,
        weights,
        inputs,
        // Sizes in between are recorded nowhere; the published size of the same network is checked in the suite
        // `models`.
        async verify(program) {
          await program.run();
          const out = await program.read('out');
          if (!out.every(Number.isFinite))
            throw new MismatchError(`bench: ${growth.id}/${x}: values that are not finite`);
          return 0;
        },
      });
    });
    return placed(rest, growth, x);
  });

function placed(c: BenchCase, { id, curve, axis, theory }: Growth, x: number): BenchCase {
  return { ...c, suite: 'scaling', group: id, name: `${id}/${x}`, growth: { curve, axis, theory, x } };
}

const conv = (size: number, C: number, B = 1): Problem => ({
  op: 'conv2d',
  ...{ B, H: size, W: size, I: C, O: C, R: 3, S: 3, stride: 1, top: 1, left: 1, bottom: 1, right: 1 },
});

/** The U-Net of ddpm-cifar10-32, a quarter as wide unless told otherwise: its shape, and time for several sizes. */
const unet = (size: number, { batch = 1, width = 32 } = {}): PublishedModel => {
  const { config, ...rest } = PUBLISHED['ddpm-cifar10-32'];
  const widths = [1, 2, 2, 2].map((factor) => factor * width);
  return { ...rest, sample: [batch, 3, size, size], config: { ...config, block_out_channels: widths } };
};

/** DiT-S/2 with four of its twelve blocks. */
const dit = (size: number, { batch = 1, heads = 6 } = {}): PublishedModel => {
  const { config, ...rest } = PUBLISHED['dit-s-2'];
  return { ...rest, sample: [batch, 4, size, size], config: { ...config, num_layers: 4, num_attention_heads: heads } };
};

const decoder = (size: number): PublishedModel => {
  const { config, ...rest } = PUBLISHED['sd-vae-8'];
  const narrow = { block_out_channels: [32, 64, 128, 128], norm_num_groups: 32 };
  return { ...rest, sample: [1, 4, size, size], config: { ...config, ...narrow } };
};

const SIDE = 'side in pixels';
const GROWTHS = [
  kernelGrowth(
    {
      id: 'conv-resolution',
      curve: 'conv 3×3, 64 channels',
      axis: SIDE,
      theory: { time: 2, memory: 0 },
      xs: [8, 16, 32, 64, 128],
    },
    (x) => conv(x, 64),
  ),
  kernelGrowth(
    {
      id: 'conv-width',
      curve: 'conv 3×3 at 16²',
      axis: 'channels',
      theory: { time: 2, memory: 0 },
      xs: [32, 64, 128, 256, 512],
    },
    (x) => conv(16, x),
  ),
  kernelGrowth(
    {
      id: 'matmul-side',
      curve: 'matmul',
      axis: 'M = N = K',
      theory: { time: 3, memory: 0 },
      xs: [64, 128, 256, 512, 1024],
    },
    (x) => ({ op: 'matmul', M: x, N: x, K: x }),
  ),
  kernelGrowth(
    {
      id: 'attention-tokens',
      curve: 'attention, 8 heads of 64',
      axis: 'tokens',
      theory: { time: 2, memory: 0 },
      xs: [64, 128, 256, 512, 1024],
    },
    (x) => ({ op: 'attention', B: 1, T: x, S: x, heads: 8, d: 64 }),
  ),
  modelGrowth(
    {
      id: 'unet-resolution',
      curve: 'U-Net, 32-64-64-64',
      axis: SIDE,
      theory: { time: 4, memory: 2 },
      xs: [16, 32, 64, 128],
    },
    (x) => unet(x),
  ),
  modelGrowth(
    {
      id: 'unet-batch',
      curve: 'U-Net, 32-64-64-64 at 32²',
      axis: 'batch',
      theory: { time: 1, memory: 1 },
      xs: [1, 2, 4, 8],
    },
    (x) => unet(32, { batch: x }),
  ),
  modelGrowth(
    {
      id: 'unet-width',
      curve: 'U-Net at 32²',
      axis: 'channels of the first level',
      theory: { time: 2, memory: 1 },
      xs: [32, 64, 128],
    },
    (x) => unet(32, { width: x }),
  ),
  modelGrowth(
    {
      id: 'dit-resolution',
      curve: 'DiT of 4 blocks, 384 wide',
      axis: 'side of the latents',
      theory: { time: 4, memory: 2 },
      xs: [8, 16, 32, 64],
    },
    (x) => dit(x),
  ),
  modelGrowth(
    {
      id: 'dit-width',
      curve: 'DiT of 4 blocks at 32²',
      axis: 'width',
      theory: { time: 2, memory: 1 },
      xs: [192, 384, 768],
    },
    (x) => dit(32, { heads: x / 64 }),
  ),
  modelGrowth(
    {
      id: 'decoder-resolution',
      curve: 'decoder, 32-64-128-128',
      axis: 'side of the latents',
      theory: { time: 4, memory: 2 },
      xs: [4, 8, 16, 32],
    },
    (x) => decoder(x),
  ),
];

/** The suite `scaling`. */
export const scalingCases = (dtype: Dtype): BenchCase[] => GROWTHS.flatMap((growth) => growth(dtype));
