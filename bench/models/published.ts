/**
 * Networks that people run, at their real sizes, with seeded weights: speed does not depend on what weights say. What
 * they are stands in models.json, which the exporter for peers reads too.
 */
import { Graph } from '../../src/engine/index.ts';
import { fromNchw, toNchw } from '../../src/kernels/index.ts';
import type { RawConfig } from '../../src/loading/index.ts';
import {
  autoencoderKlDecode,
  ditDefinition,
  readAutoencoderKLConfig,
  readUNet2DConfig,
  readUNetConditionConfig,
  sinusoidalEmbedding,
  timeFeatureDim,
  unet2d,
  unetCondition,
  WeightScope,
} from '../../src/models/all.ts';
import { gridPositions } from '../../src/models/transformers/positions.ts';
import { seededValues } from '../seeded.ts';
import models from './models.json';

/** An entry of models.json. */
export interface PublishedModel {
  /** `group/id` of the case. */
  case: string;
  sample: readonly number[];
  timestep?: number;
  labels?: readonly number[];
  context?: readonly number[];
  config: RawConfig;
}

/** A graph with the keys of its weights and the values of its inputs; the result is the output `out`. */
export interface Recorded {
  graph: Graph;
  wanted: ReadonlyMap<string, readonly number[]>;
  inputs: Record<string, Float32Array | Uint32Array>;
}

type Entry = Partial<Omit<PublishedModel, 'config'>> & { config: RawConfig | string };

/** All of them by name, configs filled in. */
export const PUBLISHED: Readonly<Record<string, PublishedModel>> = Object.fromEntries(
  Object.entries(models as unknown as Record<string, Entry>).flatMap(([name, entry]) => {
    if (!entry.case || !entry.sample) return [];
    const all = models as unknown as Record<string, Entry>;
    const config = typeof entry.config === 'string' ? all[entry.config].config : entry.config;
    return [[name, { ...entry, config } as PublishedModel]];
  }),
);

/** Records a model; `sample` may be of another batch and size than the published one. */
export function recordModel(model: PublishedModel, dtype: 'f32' | 'f16'): Recorded {
  const graph = new Graph(dtype);
  const w = new WeightScope();
  const recorder = RECORDERS[model.config._class_name as string];
  const inputs = recorder(graph, w, model);
  return { graph, wanted: w.wanted, inputs };
}

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const values = (name: string, shape: readonly number[]) => seededValues(name, size(shape));

type Recorder = (g: Graph, w: WeightScope, model: PublishedModel) => Recorded['inputs'];

const RECORDERS: Record<string, Recorder> = {
  UNet2DModel(g, w, { sample, timestep, config: raw }) {
    const config = readUNet2DConfig(raw);
    const { flipSinToCos, freqShift } = config;
    const width = timeFeatureDim(config);
    const tensors = { sample: g.input('sample', sample), timestep: g.input('timestep', [sample[0], width]) };
    g.output('out', unet2d(config, w, tensors));
    const steps = sample.slice(0, 1).flatMap((batch) => Array.from({ length: batch }, () => timestep!));
    return {
      sample: values('sample', sample),
      timestep: sinusoidalEmbedding(steps, width, { flipSinToCos, freqShift }),
    };
  },

  DiTTransformer2DModel(g, w, { sample, timestep, labels, config: raw }) {
    const config = ditDefinition.readConfig(raw);
    const [batch, , height, width] = sample;
    ditDefinition.record(g, w, config, { batch, height, width });
    const { patchSize, heads, headDim, sampleSize, freqShift, interpolationScale } = config;
    const grid = { rows: height / patchSize, columns: width / patchSize, base: sampleSize / patchSize };
    return {
      sample: values('sample', sample),
      timestep: sinusoidalEmbedding(Array<number>(batch).fill(timestep!), g.inputs.get('timestep')!.shape[1], {
        flipSinToCos: true,
        freqShift,
      }),
      classLabels: Uint32Array.from({ length: batch }, (_, i) => labels![i % labels!.length]),
      positions: gridPositions(heads * headDim, { ...grid, scale: interpolationScale }),
    };
  },

  AutoencoderKL(g, w, { sample, config: raw }) {
    g.output('out', autoencoderKlDecode(readAutoencoderKLConfig(raw), w, g.input('sample', sample)));
    return { sample: values('sample', sample) };
  },

  UNet2DConditionModel(g, w, { sample, timestep, context, config: raw }) {
    const config = readUNetConditionConfig(raw);
    const [batch, tokens, width] = context!;
    const features = config.blockOutChannels[0];
    const out = unetCondition(config, w, {
      sample: fromNchw(g.input('sample', sample)),
      timestep: fromNchw(g.input('timestep', [batch, features])),
      context: rows(g, 'context', batch, tokens, width),
      masks: { pixels: () => undefined, context: () => undefined },
      controls: [],
      adapters: [],
    });
    g.output('out', toNchw(out));
    const { flipSinToCos, freqShift } = config;
    return {
      sample: values('sample', sample),
      timestep: sinusoidalEmbedding(Array<number>(batch).fill(timestep!), features, { flipSinToCos, freqShift }),
      context: values('context', context!),
    };
  },
};

/** Tokens [B,T,D], stored as kernels read them. */
const rows = (g: Graph, name: string, ...shape: number[]) => g.input(name, shape, { dtype: g.dtype, layout: 'rows' });
