/** score_sde's networks as a pipeline: recorded runs, both ways of sampling, likelihood, folders, refusals. */
import { describe, expect, it } from 'vitest';
import { ConfigError, InvalidArgumentError } from '../../../src/engine/index.ts';
import type { RawConfig } from '../../../src/loading/index.ts';
import { readNcsnppConfig } from '../../../src/models/scoreSde/ncsnppConfig.ts';
import { NCSNpp, ncsnppWeights } from '../../../src/models/scoreSde/ncsnppModel.ts';
import { sdeOf, type SdeConfig } from '../../../src/node/parity/original/sde.ts';
import type { ScoreSdeOptions } from '../../../src/pipelines/original/options.ts';
import { ScoreSDEPipeline } from '../../../src/pipelines/original/scoreSde.ts';
import { Pipeline } from '../../../src/pipelines/index.ts';
import { withClass } from '../../../src/pipelines/original/kinds.ts';
import { HostSpace, parameterise, scorePrediction, TorchGenerator } from '../../../src/sampler/index.ts';
import { bitsPerDim, logLikelihood } from '../../../src/sampler/sde/likelihood.ts';
import { probabilityFlow } from '../../../src/sampler/sde/index.ts';
import { expectClose, LIKELIHOOD_NATS, NETWORK_NORM } from '../../support/close.ts';
import { failure } from '../../models/fixtures.ts';
import { heldBy, hostNetwork, largest } from '../folders.ts';
import { abortsCleanly, adapter, bytesOf, caseOf, device, Draws, folderOf, resumes, showsSteps } from './cases.ts';

interface Config extends Pick<ScoreSdeOptions, 'predictor' | 'corrector'> {
  net: { model: RawConfig; data: RawConfig; training: { continuous: boolean } };
  sde: SdeConfig;
  snr?: number;
  eps: number;
  n_steps?: number;
  denoise?: boolean;
  probability_flow?: boolean;
  continuous?: boolean;
}

/** The authors' config as it would be with that process and those ways of sampling. */
function configOf({ net, sde, predictor, corrector, ...o }: Config, call: readonly string[] = []): RawConfig {
  const { type, N: num_scales, ...range } = sde;
  return {
    model: { ...net.model, ...range, num_scales },
    data: net.data,
    training: { sde: `${type}sde`, continuous: o.continuous ?? net.training.continuous, n_iters: 1000 },
    sampling: {
      method: 'pc',
      predictor: predictor ?? call[0] ?? 'reverse_diffusion',
      corrector: corrector ?? call[1] ?? 'none',
      snr: o.snr ?? 0.16,
      n_steps_each: o.n_steps ?? 1,
      noise_removal: o.denoise ?? true,
      probability_flow: o.probability_flow ?? false,
    },
  };
}

const open = (name: string) =>
  caseOf<Config>(name, (config) => ncsnppWeights(readNcsnppConfig({ _class_name: 'NCSNpp', ...configOf(config) })));

describe(`score_sde on ${adapter}`, () => {
  it.each([
    ['e-sde-pc-ncsnpp', ['reverse_diffusion', 'langevin']],
    ['e-sde-pc-ddpmpp-vp-ancestral-discrete', ['ancestral_sampling', 'none']],
    ['e-sde-pc-ddpmpp-subvp-em', ['euler_maruyama', 'none']],
    ['e-sde-pc-ddpmpp-ve-ancestral-discrete', ['ancestral_sampling', 'langevin']],
    ['e-sde-pc-ncsnpp-pflow-ald', ['reverse_diffusion', 'ald']],
  ])('%s', async (name, call) => {
    const { recording, checkpoint } = await open(name);
    const config = configOf(recording.config, call);
    const before = await heldBy(device);
    const pipe = await ScoreSDEPipeline.load(device, { config, checkpoint }, { dtype: 'f32' });
    const { shape, data } = recording.tensor('out.final');
    const { latents, images } = await pipe.generate({
      batchSize: shape[0],
      generator: new Draws(recording),
      end: recording.config.eps,
    });
    const scale = largest(data);
    expectClose(latents, data, NETWORK_NORM * scale, 'final');
    images.forEach((image) => image.dispose());
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('how likely pictures are, as found on the host', async () => {
    const { recording, checkpoint } = await open('e-sde-likelihood-ddpmpp');
    const config = configOf(recording.config);
    const pipe = await ScoreSDEPipeline.load(device, { config, checkpoint }, { dtype: 'f32' });
    const { data, shape } = recording.tensor('in.data');
    const probe = recording.item('in.probe', 0);
    class Probe extends TorchGenerator {
      override randn(): Float32Array {
        return Float32Array.from(probe);
      }
    }
    // Late on the way, where few steps are asked for.
    const [end, difference, tolerances] = [0.95, 1e-2, { rtol: 1e-2, atol: 1e-2 }];
    const image = { data: Float32Array.from(data), shape };
    const found = await pipe.likelihood({ image, generator: new Probe(0), end, difference, ...tolerances });
    const network = await NCSNpp.load(device, { config: withClass(config), checkpoint }, { dtype: 'f32' });
    const [space, sde] = [new HostSpace(), sdeOf(recording.config.sde)];
    const [x, v] = [space.vec(data, shape[0]), space.vec(probe, shape[0])];
    const ask = hostNetwork(space, shape, (sample, t) => network.forward({ sample, timeCond: Math.fround(999 * t) }));
    const denoiser = parameterise(ask, 'epsilon');
    const want = await logLikelihood({ x, sde, denoiser, probe: v, end, difference, ...tolerances });
    network.dispose();
    const bits = bitsPerDim(want.logLikelihood, 3 * 64).map((b) => b + 7);
    expectClose(found.bitsPerDim, bits, LIKELIHOOD_NATS / Math.LN2, 'bits per dimension');
    expect(found.evaluations).toBe(want.evaluations);
    const few = pipe.generate({ numInferenceSteps: 20, predictor: 'ancestral_sampling' });
    expect((await failure(few)).message).toMatch(/above beta_max .* got 20; take more/);
    await pipe.dispose();
  });

  it('a folder of the authors’ config: both methods, seeds, abort, refusals', async () => {
    const { recording, checkpoint } = await open('e-sde-pc-ncsnpp');
    const { model, data, training } = configOf(recording.config) as Record<string, RawConfig>;
    const before = await heldBy(device);
    const weights = await bytesOf(checkpoint, 'module.');
    const load = (changes: RawConfig = {}) =>
      Pipeline.fromPretrained(folderOf({ model, data, training, ...changes }, weights), { device, dtype: 'f32' });
    const pipe = await load();
    expect([pipe.sampleSize, pipe.plan({ batchSize: 2 }).fits]).toEqual([{ width: 8, height: 8 }, true]);
    // Without a section on sampling, what the recording was made with.
    const { latents } = await pipe({ batchSize: 2, generator: new Draws(recording), outputType: 'latent' });
    const want = recording.tensor('out.final').data;
    expectClose(latents, want, NETWORK_NORM * largest(want), 'final');

    const call: ScoreSdeOptions = { numInferenceSteps: 3, seeds: [1, 2] };
    await showsSteps(pipe, call, { count: 3, batch: 2 });
    await abortsCleanly(pipe, call);
    await resumes(pipe, call);
    await resumes(pipe, { seeds: [1], method: 'ode', end: 0.8, rtol: 1e-1, atol: 1e-1 });
    const start = new TorchGenerator(9).randn(3 * 64);
    const noCorrector = { ...call, seeds: [4], corrector: 'none', outputType: 'latent' } as const;
    const told = await pipe({ ...noCorrector, latents: start });
    const other = await pipe({ ...noCorrector, latents: start.map((v) => -v) });
    expect(other.latents).not.toEqual(told.latents);

    // Along the flow with the same steps as on the host.
    const [end, tolerances] = [0.8, { rtol: 1e-2, atol: 1e-2 }];
    const flow = await pipe({ method: 'ode', latents: start, end, denoise: false, ...tolerances });
    flow.images.forEach((image) => image.dispose());
    const network = await NCSNpp.load(device, { config: withClass({ model, data }), checkpoint }, { dtype: 'f32' });
    const [space, sde, shape] = [new HostSpace(), sdeOf(recording.config.sde), [1, 3, 8, 8]];
    const ask = hostNetwork(space, shape, (sample, t) => network.forward({ sample, timeCond: sde.level(t).sigma }));
    const host = await probabilityFlow({
      x: space.vec(start.map((v) => 10 * v)),
      sde,
      denoiser: parameterise(ask, scorePrediction),
      to: end,
      ...tolerances,
    });
    network.dispose();
    const there = await space.read(host.x);
    expectClose(flow.latents, there, NETWORK_NORM * largest(there), 'flow');
    const wrong: ScoreSdeOptions[] = [
      { method: 'ode', numInferenceSteps: 5 },
      { method: 'pf' as 'pc' },
      { predictor: 'heun' as 'none' },
      { corrector: 'mala' as 'none' },
      { snr: -1 },
      { correctorSteps: 0 },
      { numInferenceSteps: 0 },
      { end: 0 },
      { batchSize: 0 },
      { width: 7 },
      { method: 'ode', rtol: 0 },
      { method: 'ode', snr: 0.1 },
      { method: 'pc', rtol: 1e-3 },
      { classLabels: 1 } as ScoreSdeOptions,
      { guidanceScale: 3 } as ScoreSdeOptions,
    ];
    for (const options of wrong) {
      const error = await failure(pipe(options));
      expect(error instanceof InvalidArgumentError || error instanceof ConfigError, Object.keys(options).join()).toBe(
        true,
      );
    }
    await pipe.dispose();
    const discrete = await load({ training: { ...training, continuous: false } });
    for (const options of [{ numInferenceSteps: 5 }, { method: 'ode' }] as ScoreSdeOptions[])
      expect(await failure(discrete(options))).toBeInstanceOf(InvalidArgumentError);
    const image = { data: new Float32Array(3 * 64), shape: [1, 3, 8, 8] };
    expect(await failure(discrete.likelihood!({ image }))).toBeInstanceOf(InvalidArgumentError);
    const whole = await load();
    expect(await failure(whole.likelihood!({ image, end: 1 }))).toBeInstanceOf(InvalidArgumentError);
    await whole.dispose();
    await discrete.dispose();
    const bad = [
      { training: {} },
      { training: { sde: 'ddpm' } },
      { sampling: { predictor: 'heun' } },
      { sampling: { tea: 1 } },
    ];
    for (const changes of bad) expect(await failure(load(changes))).toBeInstanceOf(ConfigError);
    expect(await heldBy(device)).toEqual(before);
  });
});
