/** The U-Net of ddpm-cifar10-32 (Ho et al. 2020) at its real size with seeded weights: speed does not depend on them. */
import { Graph, Weights, type WeightSource } from '../../src/engine/index.ts';
import {
  readUNet2DConfig,
  sinusoidalEmbedding,
  timeFeatureDim,
  unet2d,
  unet2dWeights,
  WeightScope,
} from '../../src/models/index.ts';
import { F16_PIPELINE, NETWORK_NORM } from '../../test/support/close.ts';
import { normals, roundTo } from '../../test/support/random.ts';
import type { BenchCase } from '../case.ts';
import { seeded } from '../kernels/problem.ts';
import { ProgramSubject } from '../programSubject.ts';
import { verifyNorm } from '../verify.ts';
import { hostRun } from './hostRun.ts';
import { modelCase } from './modelCase.ts';

const CONFIG = {
  _class_name: 'UNet2DModel',
  act_fn: 'silu',
  attention_head_dim: null,
  block_out_channels: [128, 256, 256, 256],
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D', 'DownBlock2D'],
  downsample_padding: 0,
  flip_sin_to_cos: false,
  freq_shift: 1,
  in_channels: 3,
  layers_per_block: 2,
  norm_eps: 1e-6,
  norm_num_groups: 32,
  out_channels: 3,
  sample_size: 32,
  up_block_types: ['UpBlock2D', 'UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
};
const TIMESTEP = 500;

let truth: Promise<Float64Array> | undefined;

export function cifar10Case(dtype: 'f32' | 'f16'): BenchCase {
  const config = readUNet2DConfig(CONFIG);
  const { flipSinToCos, freqShift } = config;
  const inputs = {
    sample: normals(1, 3 * 32 * 32),
    timestep: sinusoidalEmbedding([TIMESTEP], timeFeatureDim(config), { flipSinToCos, freqShift }),
  };
  const graph = new Graph(dtype);
  const sample = graph.input('sample', [1, 3, 32, 32]);
  const timestep = graph.input('timestep', [1, timeFeatureDim(config)]);
  graph.output('out', unet2d(config, new WeightScope(), { sample, timestep }));
  const source = seededWeights(unet2dWeights(config));
  return modelCase({ group: 'cifar10', id: 'unet-1x32x32', dtype, graph }, async (device) => {
    // The same for both storage types: weights are halves in either.
    truth ??= hostRun(graph, inputs, (key) => source.read(key));
    const want = await truth;
    const weights = new Weights(device, source);
    await weights.load(graph);
    return new ProgramSubject(device, {
      graph,
      weights,
      inputs,
      async verify(program) {
        await program.run();
        const tolerance = dtype === 'f32' ? NETWORK_NORM : F16_PIPELINE;
        return verifyNorm(await program.read('out'), want, tolerance, 'ddpm-cifar10 U-Net');
      },
    });
  });
}

/** Normals that keep the size of what passes through; a scale of a norm is about 1. Values that a half can hold. */
function seededWeights(wanted: ReadonlyMap<string, readonly number[]>): WeightSource {
  const seeds = new Map([...wanted.keys()].map((key, i) => [key, i + 1]));
  return {
    name: 'seeded weights',
    keys: () => wanted.keys(),
    info: (key) => (wanted.has(key) ? { dtype: 'F16', shape: wanted.get(key)! } : undefined),
    async read(key) {
      const shape = wanted.get(key)!;
      const [first, ...rest] = shape;
      const fanIn = rest.reduce((a, b) => a * b, 1);
      const isNorm = shape.length === 1 && key.endsWith('weight');
      const form = shape.length > 1 ? { std: 1 / Math.sqrt(fanIn) } : isNorm ? { mean: 1, std: 0.1 } : { std: 0.1 };
      return seeded(seeds.get(key)!, first * fanIn, form, (values) => roundTo('f16', values));
    },
  };
}
