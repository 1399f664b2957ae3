/** The graphs whose classes of shapes are measured for the library: published models and the emoji pipeline. */
import { DEFAULT_CAPABILITIES, Graph, prepare } from '../../src/engine/index.ts';
import { rewrites } from '../../src/kernels/index.ts';
import { readConfig, type Directory } from '../../src/loading/index.ts';
import {
  autoencoderKlDecode,
  readAutoencoderKLConfig,
  readUNet2DConfig,
  timeFeatureDim,
  unet2d,
  WeightScope,
} from '../../src/models/index.ts';
import { PUBLISHED, recordModel } from '../models/published.ts';
import { SOFTWARE_MODEL_FLOPS } from '../select.ts';

/** By the names of the bench's cases. @param weights the folder `weights` of this package */
export async function tunedGraphs(
  weights: Directory,
  { dtype, software }: { dtype: 'f32' | 'f16'; software: boolean },
): Promise<Map<string, Graph>> {
  const graphs = new Map(Object.values(PUBLISHED).map((model) => [model.case, recordModel(model, dtype).graph]));
  for (const [name, graph] of graphs) {
    // As in the bench, a processor gets what takes some seconds.
    if (software && flopsOf(graph) > SOFTWARE_MODEL_FLOPS) graphs.delete(name);
  }
  const folder = weights.folder('emoji');
  const unet = readUNet2DConfig(await readConfig(folder.folder('unet'), 'UNet2DModel'));
  const vae = readAutoencoderKLConfig(await readConfig(folder.folder('vae'), 'AutoencoderKL'));
  const [height, width] = unet.sampleSize!;
  for (const batch of [1, 2]) {
    const g = new Graph(dtype);
    const out = unet2d(unet, new WeightScope(), {
      sample: g.input('sample', [batch, unet.inChannels, height, width]),
      timestep: g.input('timestep', [batch, timeFeatureDim(unet)]),
      classLabels: g.input('classLabels', [batch], { dtype: 'u32' }),
    });
    g.output('out', out);
    graphs.set(`emoji/unet-${batch}x${height}x${width}`, g);
  }
  const g = new Graph(dtype);
  const latent = g.input('latent', [1, vae.latentChannels, height, width]);
  g.output('out', autoencoderKlDecode(vae, new WeightScope(), latent));
  return graphs.set(`emoji/decode-1x${height}x${width}`, g);
}

/** Limits do not matter for counting. */
const BOUNDLESS = {
  ...DEFAULT_CAPABILITIES,
  limits: { ...DEFAULT_CAPABILITIES.limits, maxBufferSize: 2 ** 50, maxStorageBufferBindingSize: 2 ** 50 },
};

const flopsOf = (graph: Graph) => prepare(graph, BOUNDLESS, { rewrites }).report.flops;
