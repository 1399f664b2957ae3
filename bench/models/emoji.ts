/** The trained pipeline of this package, checked against what PyTorch made of the same noise with the same weights. */
import { Graph, Weights, type Device, type Program, type WeightSource } from '../../src/engine/index.ts';
import { Checkpoint, openWeights, readConfig, type Directory } from '../../src/loading/index.ts';
import {
  autoencoderKlDecode,
  legacyAttentionKeys,
  readAutoencoderKLConfig,
  readUNet2DConfig,
  sinusoidalEmbedding,
  timeFeatureDim,
  unet2d,
  WeightScope,
  type UNet2DConfig,
} from '../../src/models/index.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import { samplerFrom } from '../../src/sampler/index.ts';
import { F16_PIPELINE, NETWORK_NORM, SAME_PICTURE } from '../../test/support/close.ts';
import type { BenchCase } from '../case.ts';
import { verifyClose, verifyNorm } from '../verify.ts';
import { modelCase, type NetworkCase } from './modelCase.ts';

/** What the reference recorded of its sampling, in the words of its own config. */
interface Recording {
  timesteps: number[];
  guidanceScale: number;
  nullLabel: number;
}

/** One step of row 0 of the recording, and the guided prediction that leads from its state to the next. */
interface RecordedStep {
  timestep: number;
  label: number;
  nullLabel: number;
  guidance: number;
  /** [4,16,16], as is `predicted`. */
  x: Float32Array;
  /** v(null) + guidance·(v(label) − v(null)) */
  predicted: Float64Array;
}

const STEP = 10;

/** ‖error‖ / ‖output‖ of one network. */
const NETWORK = { f32: NETWORK_NORM, f16: F16_PIPELINE } as const;

/** U-Net step alone and in a guided pair, and the decoder. */
export async function emojiNetworks(weights: Directory, dtype: 'f32' | 'f16'): Promise<NetworkCase[]> {
  const folder = weights.folder('emoji');
  const reference = weights.folder('emoji-reference');
  const unet = readUNet2DConfig(await readConfig(folder.folder('unet'), 'UNet2DModel'));
  const vae = readAutoencoderKLConfig(await readConfig(folder.folder('vae'), 'AutoencoderKL'));
  const [height, width] = unet.sampleSize!;

  const step = (batch: 1 | 2): NetworkCase => {
    const graph = recordStep(unet, batch, dtype);
    return {
      ...{ group: 'emoji', id: `unet-${batch}x${height}x${width}`, dtype, graph, quick: batch === 1 },
      async work(device) {
        const recorded = await recordedStep(folder, reference);
        const labels = Array.from({ length: batch }, () => recorded.label);
        return {
          graph,
          weights: await readWeights(device, folder.folder('unet')),
          inputs: stepInputs(unet, recorded, labels),
          verify: (program) => verifyStep(program, unet, recorded, batch, dtype),
        };
      },
    };
  };

  const latent = [1, vae.latentChannels, height, width];
  const graph = new Graph(dtype);
  graph.output('out', autoencoderKlDecode(vae, new WeightScope(), graph.input('latent', latent)));
  const decode: NetworkCase = {
    ...{ group: 'emoji', id: `decode-1x${height}x${width}`, dtype, graph },
    async work(device) {
      const io = await openRecording(reference);
      const [mean, decoded] = [
        await io.read('vae.mean', { rows: [0, 1] }),
        await io.read('vae.decoded', { rows: [0, 1] }),
      ];
      await io.close();
      return {
        graph,
        weights: await readWeights(device, folder.folder('vae')),
        inputs: { latent: mean },
        async verify(program) {
          await program.run();
          return verifyNorm(await program.read('out'), decoded, NETWORK[dtype], 'emoji decode');
        },
      };
    },
  };
  return [step(1), step(2), decode];
}

/** A picture from noise to pixels in as many steps as were recorded, guided; loading is not timed. */
export function emojiPicture(weights: Directory, dtype: 'f32' | 'f16'): BenchCase {
  const folder = weights.folder('emoji');
  const reference = weights.folder('emoji-reference');
  return modelCase({ group: 'emoji-picture', id: '20-steps', dtype }, async (device) => {
    const { timesteps, guidanceScale } = (await reference.json('config.json')) as Recording;
    const io = await openRecording(reference);
    const [label] = await io.read('in.labels', { rows: [0, 1] });
    const [noise, wantLatents, wantImage] = [
      await io.read('in.noise', { rows: [0, 1] }),
      await io.read('out.latents', { rows: [0, 1] }),
      await io.read('out.image', { rows: [0, 1] }),
    ];
    await io.close();
    const pipe = await Pipeline.fromPretrained(folder, { device, dtype });
    const generate = (signal?: AbortSignal) =>
      pipe({ classLabels: label, latents: noise, numInferenceSteps: timesteps.length, guidanceScale, signal });
    const { unet, decoder } = pipe.plan().dispatches ?? { unet: 0, decoder: 0 };
    const forget = ({ images }: Awaited<ReturnType<typeof generate>>) => images.forEach((image) => image.dispose());
    return {
      dispatches: timesteps.length * unet + decoder,
      first: async () => forget(await generate()),
      run: async (signal) => forget(await generate(signal)),
      async verify() {
        const made = await generate();
        const image = await made.images[0].toTensor();
        forget(made);
        // Halves are promised close in latents: what the decoder makes of a percent depends on the picture.
        if (dtype === 'f16') return verifyNorm(made.latents, wantLatents, F16_PIPELINE, 'emoji latents');
        return verifyClose(image, wantImage, new Float32Array(image.length).fill(SAME_PICTURE), 'emoji picture');
      },
      dispose: () => pipe.dispose(),
    };
  });
}

function recordStep(config: UNet2DConfig, batch: number, dtype: 'f32' | 'f16'): Graph {
  const g = new Graph(dtype);
  const out = unet2d(config, new WeightScope(), {
    sample: g.input('sample', [batch, config.inChannels, ...config.sampleSize!]),
    timestep: g.input('timestep', [batch, timeFeatureDim(config)]),
    classLabels: g.input('classLabels', [batch], { dtype: 'u32' }),
  });
  g.output('out', out);
  return g;
}

/** The same state and timestep for every label. */
function stepInputs(config: UNet2DConfig, { x, timestep }: RecordedStep, labels: readonly number[]) {
  const { flipSinToCos, freqShift } = config;
  const sample = new Float32Array(labels.length * x.length);
  labels.forEach((_, i) => sample.set(x, i * x.length));
  const timesteps = labels.map(() => timestep);
  return {
    sample,
    timestep: sinusoidalEmbedding(timesteps, timeFeatureDim(config), { flipSinToCos, freqShift }),
    classLabels: Uint32Array.from(labels),
  };
}

/** Guidance put together on the host, from one call of batch 2 or two calls of batch 1, against the recording. */
async function verifyStep(
  program: Program,
  config: UNet2DConfig,
  recorded: RecordedStep,
  batch: number,
  dtype: 'f32' | 'f16',
): Promise<number> {
  const { label, nullLabel, guidance, predicted } = recorded;
  const call = async (labels: number[]) => {
    const inputs = stepInputs(config, recorded, labels);
    for (const [name, values] of Object.entries(inputs)) program.write(name, values);
    await program.run();
    return program.read('out');
  };
  const n = predicted.length;
  const both = batch === 2 ? await call([nullLabel, label]) : undefined;
  const without = both?.subarray(0, n) ?? (await call([nullLabel]));
  const conditional = both?.subarray(n) ?? (await call([label]));
  const got = without.map((u, i) => u + guidance * (conditional[i] - u));
  // Two predictions are subtracted and scaled: each brings its own error.
  return verifyNorm(got, predicted, NETWORK[dtype] * (2 * guidance - 1), `emoji U-Net, batch ${batch}`);
}

/**
 * DDIM without noise is x' = √p·x₀ + √(1−p)·ε with x₀ = √a·x − √(1−a)·v and ε = √a·v + √(1−a)·x, linear in v, so that
 * two recorded states give the v that the reference computed. Song et al. 2021, equation 12; Salimans & Ho 2022 for v.
 */
async function recordedStep(folder: Directory, reference: Directory): Promise<RecordedStep> {
  const { timesteps, guidanceScale, nullLabel } = (await reference.json('config.json')) as Recording;
  const config = await readConfig(folder.folder('scheduler'), undefined, { file: 'scheduler_config.json' });
  const { schedule } = samplerFrom(config);
  const io = await openRecording(reference);
  const [label] = await io.read('in.labels', { rows: [0, 1] });
  const x = await io.read('out.afterStep', { rows: [STEP - 1, STEP] });
  const next = await io.read('out.afterStep', { rows: [STEP, STEP + 1] });
  await io.close();
  const a = schedule.alphasCumprod[timesteps[STEP]];
  const p = schedule.alphasCumprod[timesteps[STEP + 1]];
  const ofX = Math.sqrt(p * a) + Math.sqrt((1 - p) * (1 - a));
  const ofV = Math.sqrt((1 - p) * a) - Math.sqrt(p * (1 - a));
  const predicted = Float64Array.from(x, (value, i) => (next[i] - ofX * value) / ofV);
  return { timestep: timesteps[STEP], label, nullLabel, guidance: guidanceScale, x, predicted };
}

async function openRecording(reference: Directory): Promise<Checkpoint> {
  return Checkpoint.open(await reference.open('io.safetensors'));
}

/** Weights in memory, so that a first run times no file. */
async function readWeights(device: Device, folder: Directory): Promise<Weights> {
  const checkpoint = (await openWeights(folder, { rename: legacyAttentionKeys })) as WeightSource & Checkpoint;
  try {
    const values = new Map<string, Float32Array>();
    const infos = new Map([...checkpoint.keys()].map((key) => [key, checkpoint.info(key)]));
    for (const key of infos.keys()) values.set(key, await checkpoint.read(key));
    return new Weights(device, {
      name: checkpoint.name,
      keys: () => infos.keys(),
      info: (key) => infos.get(key),
      async read(key, { rows } = {}) {
        const data = values.get(key)!;
        const width = data.length / infos.get(key)!.shape[0];
        return rows ? data.subarray(rows[0] * width, rows[1] * width) : data;
      },
    });
  } finally {
    await checkpoint.close();
  }
}
