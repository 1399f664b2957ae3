/** Parity of the older autoencoders: fully connected and convolutional VAE, k-sparse, TD-VAE. */
import type { RawConfig } from '../../../loading/index.ts';
import { kSparse, kSparseSupport, type KSparseConfig } from '../../../models/autoencoders/kSparse.ts';
import { mlpVae } from '../../../models/autoencoders/mlpVae.ts';
import { vanillaVae } from '../../../models/autoencoders/vanillaVae.ts';
import { LoadedModel, weightsOf, type ModelDefinition } from '../../../models/loadedModel.ts';
import type { ModelOutputs } from '../../../models/modelRuntime.ts';
import { tdVae, tdVaeDraws, tdVaeLoss, type TdVaeCall } from '../../../models/tdVae/tdVaeModel.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import { mergedWeights, storedShapes, type NetworkCase } from './weights.ts';

/** Files of a case's network. */
export async function modelFiles(c: NetworkCase): Promise<readonly string[]> {
  return ((await c.dir.json('config.json')) as { weights: { model: readonly string[] } }).weights.model;
}

/** Loads a case's network and runs on it. */
export async function withModel<Config, Call extends object, T>(
  c: NetworkCase,
  definition: ModelDefinition<Config, Call>,
  raw: RawConfig,
  run: (model: LoadedModel<Config, Call>) => Promise<T>,
): Promise<T> {
  const config = { _class_name: definition.className, ...raw };
  const wanted = weightsOf(definition, definition.readConfig(config));
  const checkpoint = await mergedWeights(c, await modelFiles(c), wanted);
  const model = await LoadedModel.load(await c.device(), { config, checkpoint }, definition, { dtype: c.dtype });
  try {
    return await run(model);
  } finally {
    model.dispose();
    await checkpoint.close();
  }
}

/** All outputs on the host, in f64. */
export async function readAll(outputs: ModelOutputs): Promise<Record<string, Float64Array>> {
  const values = Object.entries(outputs).map(async ([name, o]) => [name, Float64Array.from(await o.read())] as const);
  return Object.fromEntries(await Promise.all(values));
}

const f32 = (data: ArrayLike<number>) => Float32Array.from(data);

/** KL(N(mean, σ²) ‖ N(0, 1)) of each item, in nats. Kingma & Welling 2014, appendix B. */
function divergences(mean: Float64Array, logVariance: Float64Array, batch: number): number[] {
  const size = mean.length / batch;
  return Array.from({ length: batch }, (_, b) => {
    let sum = 0;
    for (let i = b * size; i < (b + 1) * size; i++) {
      sum += 0.5 * (mean[i] ** 2 + Math.exp(logVariance[i]) - 1 - logVariance[i]);
    }
    return sum;
  });
}

/** Encodes, draws with the recorded noise, decodes: what both VAEs have in common. */
async function encodeDrawDecode(
  recording: OriginalCase<unknown>,
  model: LoadedModel<unknown, { part: 'encode' | 'decode'; batch: number }>,
) {
  const x = recording.tensor('in.x');
  const batch = x.shape[0];
  const { mean, logVariance } = await readAll(await model.runAll({ part: 'encode', batch }, { x: f32(x.data) }));
  recording.compare('mu', mean);
  recording.compare('logvar', logVariance);
  const draw = recording.tensor('draws').data;
  const z = mean.map((m, i) => m + Math.exp(0.5 * logVariance[i]) * draw[i]);
  recording.compare('z', z);
  const recon = Float64Array.from(await (await model.run({ part: 'decode', batch }, { z: f32(z) })).read());
  recording.compare('recon', recon);
  return { batch, x: x.data, recon, kld: divergences(mean, logVariance, batch) };
}

/** `MLP VAE (relu, sigmoid output)`; `a` = sizes of input, hidden layer and latent. */
export async function runMlpVae(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ a: readonly [number, number, number] }>(c.dir);
  const [input_size, hidden_size, latent_size] = recording.config.a;
  await withModel(c, mlpVae, { input_size, hidden_size, latent_size }, async (model) => {
    const { batch, x, recon, kld } = await encodeDrawDecode(recording, model as never);
    const size = x.length / batch;
    const entropy = (b: number) => {
      let sum = 0;
      for (let i = b * size; i < (b + 1) * size; i++) {
        sum -= x[i] * Math.log(recon[i]) + (1 - x[i]) * Math.log(1 - recon[i]);
      }
      return sum;
    };
    recording.compare(
      'bce',
      Array.from({ length: batch }, (_, b) => entropy(b)),
    );
    recording.compare('kld', kld);
  });
  return recording.result();
}

/** `VanillaVAE encode/reparameterize/decode` of AntixK/PyTorch-VAE. */
export async function runVanillaVae(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ a: RawConfig }>(c.dir);
  await withModel(c, vanillaVae, recording.config.a, async (model) => {
    const { batch, kld } = await encodeDrawDecode(recording, model as never);
    recording.compare('kld', [kld.reduce((a, b) => a + b) / batch]);
  });
  return recording.result();
}

/** `k-sparse autoencoder`; `a` = sizes of input and code, `ks` = units kept. */
export async function runKSparse(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ a: readonly [number, number]; ks: readonly number[] }>(c.dir);
  const { a, ks } = recording.config;
  const x = recording.tensor('in.x');
  const batch = x.shape[0];
  const sizes = { input_size: a[0], code_size: a[1] } satisfies Record<string, KSparseConfig['inputSize']>;
  const forms = [
    { name: 'value', by: 'value', act: 'none', tied: false },
    { name: 'abs', by: 'magnitude', act: 'none', tied: false },
    { name: 'relu', by: 'value', act: 'relu', tied: false },
    { name: 'tied', by: 'value', act: 'none', tied: true },
  ] as const;
  for (const { name, by, act, tied } of forms) {
    await withModel(c, kSparse, { ...sizes, tied }, async (model) => {
      for (const k of ks) {
        if (!recording.has(`out.${name}${k}.recon`)) continue;
        const { pre, out } = await readAll(await model.runAll({ batch, k, by, act }, { x: f32(x.data) }));
        recording.compare(`${name}${k}.recon`, out);
        if (recording.has(`out.${name}${k}.support`)) {
          const rows = Array.from({ length: batch }, (_, b) => pre.subarray(b * a[1], (b + 1) * a[1]));
          recording.same(
            `${name}${k}.support`,
            rows.flatMap((row) => kSparseSupport(row, k, by)),
          );
        }
        if (name === 'value') recording.compare('pre', pre);
      }
    });
  }
  return recording.result();
}

/** `TD_VAE: forward, calculate_loss, rollout`; `a` = sizes of observation, processed observation, belief, state. */
export async function runTdVae(c: NetworkCase): Promise<CaseResult> {
  interface Config {
    a: readonly [number, number, number, number];
    t1: number;
    t2: number;
    r1: number;
    r2: number;
  }
  const recording = await OriginalCase.open<Config>(c.dir);
  const { a, t1, t2, r1, r2 } = recording.config;
  const shape = await storedShapes(c, (await modelFiles(c))[0]);
  const raw = {
    x_size: a[0],
    processed_x_size: a[1],
    b_size: a[2],
    z_size: a[3],
    block_hidden_size: shape('l2_b_to_z.fc1.weight')[0],
    decoder_hidden_size: shape('z_to_x.fc1.weight')[0],
  };
  const x = recording.tensor('in.x');
  const [batch, steps, width] = x.shape;
  const start = new Float32Array(batch * 2 * a[2]);
  await withModel(c, tdVae, raw, async (model) => {
    const run = async (call: TdVaeCall, first: number) => {
      const draws = byItem(recording, first, tdVaeDraws(call));
      return readAll(await model.runAll(call, { x: f32(x.data), start, ...(draws.length > 0 ? { draws } : {}) }));
    };
    const jumped = await run({ part: 'jump', batch, steps, t1, t2 }, 0);
    recording.compare('processed_x', jumped.processed);
    recording.compare('belief', jumped.belief);
    const noise = { upper: recording.item('draws', 0), lower: recording.item('draws', 1) };
    const seen = new Float64Array(batch * width);
    for (let b = 0; b < batch; b++) {
      seen.set(x.data.subarray((b * steps + t2) * width, (b * steps + t2 + 1) * width), b * width);
    }
    recording.compare('loss', [tdVaeLoss(jumped, noise, seen, batch)]);
    recording.compare('l2_mu', jumped['belief1.upper.mean']);
    recording.compare('l2_logsigma', jumped['belief1.upper.logSigma']);
    const rolled = await run({ part: 'rollout', batch, steps, from: r1 - 1, length: r2 - r1 + 1 }, 4);
    recording.compare('rollout', rolled.out);
  });
  return recording.result();
}

/** Recorded draws [n,B,Z] from the `first` on as [B,n,Z]. */
function byItem(recording: OriginalCase<unknown>, first: number, count: number): Float32Array {
  const [, batch, size] = recording.tensor('draws').shape;
  const out = new Float32Array(batch * count * size);
  for (let n = 0; n < count; n++) {
    const draw = recording.item('draws', first + n);
    for (let b = 0; b < batch; b++) out.set(draw.subarray(b * size, (b + 1) * size), (b * count + n) * size);
  }
  return out;
}
