/** Between noises, through autoencoders and back, and how likely pictures are. */
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, UnsupportedError } from '../../src/engine/index.ts';
import { AutoencoderKL, UNet2D } from '../../src/models/index.ts';
import { AutoencoderTiny } from '../../src/models/tiny/autoencoderTinyModel.ts';
import { VQModel } from '../../src/models/vq/vqModel.ts';
import { encodePictures, reconstruct } from '../../src/pipelines/run/autoencoding.ts';
import { flowProcess } from '../../src/pipelines/pixelDiffusion/flowProcess.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import { interpolateLatents, slerp } from '../../src/pipelines/run/interpolation.ts';
import {
  bitsPerDim,
  HostSpace,
  logLikelihood,
  parameterise,
  samplerFrom,
  TorchGenerator,
} from '../../src/sampler/index.ts';
import { expectClose, F64, LIKELIHOOD_NATS, NETWORK_NORM, ROUNDOFF } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';
import { failure, fixture } from '../models/fixtures.ts';
import { heldBy, hostNetwork, largest, pipelineFolder } from './folders.ts';

const picture = (seed: number, B: number, side: number) => ({
  data: new TorchGenerator(seed).randn(B * 3 * side * side).map((v) => Math.tanh(v)),
  shape: [B, 3, side, side] as const,
});

describe('the arc between two noises', () => {
  const [a, b] = [1, 2].map((seed) => new TorchGenerator(seed).randn(4096));

  it('goes from one to the other at an even pace, and keeps the norm', () => {
    expect(slerp(a, b, 0)).toEqual(a);
    expect(slerp(a, b, 1)).toEqual(b);
    // On a circle the point a third of the way is a third of the angle away.
    const [x, y] = [Float32Array.of(3, 0), Float32Array.of(0, 3)];
    const third = slerp(x, y, 1 / 3);
    expectClose(third, [3 * Math.cos(Math.PI / 6), 3 * Math.sin(Math.PI / 6)], 4 * ROUNDOFF.f32 * 3);
    const angles = [0.25, 0.5, 0.75].map((t) => {
      const p = slerp(a, b, t);
      return Math.hypot(...p);
    });
    const [low, high] = [Math.hypot(...a), Math.hypot(...b)].sort((p, q) => p - q);
    for (const norm of angles) {
      // No noise of this size lies far from the ends' norms; the chord's middle is 30 % short.
      expect(norm).toBeGreaterThan(low * Math.cos(Math.PI / 18));
      expect(norm).toBeLessThan(high / Math.cos(Math.PI / 18));
    }
  });

  it('takes the chord where there is no arc', () => {
    expect(slerp(a, a, 0.3)).toEqual(a);
    const zero = new Float32Array(2);
    expect(slerp(zero, Float32Array.of(2, 4), 0.5)).toEqual(Float32Array.of(1, 2));
    expect(slerp(Float32Array.of(1, 0), Float32Array.of(-1, 0), 0.5)).toEqual(zero);
  });

  it('gives the latents of a batch, and refuses what is none', () => {
    const all = interpolateLatents(a, b, 5);
    expect(all.subarray(2 * 4096, 3 * 4096)).toEqual(slerp(a, b, 0.5));
    expect(all.subarray(4 * 4096)).toEqual(b);
    expect(() => interpolateLatents(a, b, 1)).toThrow(InvalidArgumentError);
    expect(() => slerp(a, b.subarray(1), 0.5)).toThrow(InvalidArgumentError);
    expect(() => slerp(a, b, NaN)).toThrow(InvalidArgumentError);
  });
});

describe('with a device', async () => {
  const device = await openDevice(adapters()[0]);
  const DDPM = { _class_name: 'DDPMScheduler', num_train_timesteps: 100, beta_end: 0.1 };

  it('pictures on the way between two noises are those of each noise alone', async () => {
    const pipe = await Pipeline.fromPretrained(
      pipelineFolder({
        className: 'DDIMPipeline',
        parts: { unet: 'unet2d_ddpm_cifar' },
        schedulers: { scheduler: DDPM },
      }),
      { device },
    );
    const [a, b] = [1, 2].map((seed) => new TorchGenerator(seed).randn(768));
    const call = { numInferenceSteps: 2 };
    const way = await pipe({ ...call, batchSize: 3, latents: interpolateLatents(a, b, 3) });
    const middle = await pipe({ ...call, latents: slerp(a, b, 0.5) });
    const { latents } = middle;
    expectClose(way.latents.subarray(768, 1536), latents, NETWORK_NORM * largest(latents), 'middle');
    [...way.images, ...middle.images].forEach((image) => image.dispose());
    await pipe.dispose();
  });

  it('autoencoders: encode, then decode', async () => {
    const before = await heldBy(device);
    const image = picture(1, 2, 16);
    const kl = await AutoencoderKL.load(device, fixture('vae_kl_sd'));
    const mode = await encodePictures(kl, image);
    const posterior = await (await kl.encode({ image })).posterior();
    expect(mode).toEqual({ data: posterior.mode(), shape: [2, 4, 8, 8] });
    const drawn = await encodePictures(kl, image, { generator: new TorchGenerator(1) });
    expect(drawn.data).toEqual(posterior.sample(new TorchGenerator(1).randn(512)));
    const tiny = await AutoencoderTiny.load(device, fixture('vae_tiny'));
    const vq = await VQModel.load(device, fixture('vq_ldm'));
    for (const model of [kl, tiny, vq]) {
      const images = await reconstruct(device, model, image);
      const out = await model.decode({ latent: await encodePictures(model, image) });
      const want = (await out.read()).slice(0, 2 * 768);
      expect(await images[1].toPlanes()).toEqual(want.slice(768));
      images.forEach((result) => result.dispose());
    }
    const bytes = { data: new Uint8Array(4 * 64).fill(255), width: 8, height: 8 };
    const [white] = await reconstruct(device, tiny, bytes);
    expect(white).toMatchObject({ width: 8, height: 8 });
    white.dispose();
    const grey = { data: new Float32Array(64), shape: [1, 1, 8, 8] };
    expect(await failure(reconstruct(device, kl, grey))).toBeInstanceOf(InvalidArgumentError);
    const odd = await VQModel.load(device, fixture('vq_extra_embed_dim')); // from one channel to two
    const wide = { data: new Float32Array(256), shape: [1, 1, 16, 16] };
    expect(await failure(reconstruct(device, odd, wide))).toBeInstanceOf(UnsupportedError);
    for (const model of [kl, tiny, vq, odd]) model.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('a Stable Diffusion encodes in the scale of its latents', async () => {
    const before = await heldBy(device);
    const parts = { unet: 'unet_cond_sd15', vae: 'vae_kl_sd' };
    const schedulers = { scheduler: { _class_name: 'DDIMScheduler' } };
    const folder = pipelineFolder({ className: 'StableDiffusionPipeline', parts, schedulers });
    const pipe = await Pipeline.fromPretrained(folder, { device });
    const image = picture(1, 1, 16);
    const kl = await AutoencoderKL.load(device, fixture('vae_kl_sd'));
    const mode = (await (await kl.encode({ image })).posterior()).mode();
    const { data, shape } = await pipe.encode!(image);
    expect(shape).toEqual([1, 4, 8, 8]);
    expectClose(
      data,
      mode.map((z) => 0.18215 * z),
      NETWORK_NORM * largest(data),
      'latents',
    );
    const [got] = await pipe.reconstruct!(image);
    const out = await kl.decode({ latent: { data: mode, shape } });
    expectClose(await got.toPlanes(), (await out.read()).slice(0, 768), NETWORK_NORM, 'picture');
    for (const part of [kl, got]) part.dispose();
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it.each([
    ['DDPMPipeline', DDPM, [-1, 1]],
    ['ScoreSdeVePipeline', { _class_name: 'ScoreSdeVeScheduler', sigma_min: 0.1, sigma_max: 10 }, [0, 1]],
  ] as const)('likelihood of %s: as the flow composed by hand on the host', async (className, config, [low, high]) => {
    const before = await heldBy(device);
    const name = className === 'DDPMPipeline' ? 'unet2d_ddpm_cifar' : 'unet2d_ncsnpp';
    const parts = { unet: name };
    const folder = pipelineFolder({ className, parts, schedulers: { scheduler: config } });
    const pipe = await Pipeline.fromPretrained(folder, { device });
    const image = picture(1, 1, 4);
    // Rounding of the network counts as 1/difference, and as sigma.
    const options = { rtol: 0.1, atol: 0.1, difference: low === 0 ? 1 : 0.2 };
    const got = await pipe.likelihood!({ image, ...options, generator: 3 });

    const unet = await UNet2D.load(device, fixture(name));
    const space = new HostSpace();
    const { sde, end, reads } = flowProcess(samplerFrom(config));
    const network = hostNetwork(space, [1, 3, 4, 4], (sample, timestep) => unet.forward({ sample, timestep }));
    const denoiser = parameterise(network, reads);
    const probe = space.vec(new TorchGenerator(3).randn(48).map((z) => (z < 0 ? -1 : 1)));
    const x = space.vec(image.data.map((v) => low + ((high - low) * (v + 1)) / 2));
    const want = await logLikelihood({ x, sde, end, denoiser, probe, ...options });
    unet.dispose();
    expect(got.evaluations).toBe(want.evaluations);
    const [nats] = want.logLikelihood;
    expectClose(got.logLikelihood, [nats], LIKELIHOOD_NATS * 48, 'nats');
    const bits = bitsPerDim([nats], 48)[0] + Math.log2(256 / (high - low));
    expectClose(got.bitsPerDim, [bits], LIKELIHOOD_NATS / Math.LN2, 'bits');
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('the process through a table has its levels, and drifts by what lies between them', () => {
    for (const beta_schedule of ['linear', 'squaredcos_cap_v2']) {
      const sampler = samplerFrom({ _class_name: 'DDIMScheduler', beta_schedule });
      const { schedule } = sampler;
      const { sde, end } = flowProcess(sampler);
      expect(sde.level(end)).toMatchObject({ timestep: 0 });
      for (const i of [0, 1, 499, 998]) {
        const [t, next] = [(i + 1) / 1000, (i + 2) / 1000];
        expectClose([sde.level(t).alpha, sde.level(t).sigma], [schedule.at(i).alpha, schedule.at(i).sigma], F64 * 100);
        // Simpson's rule is exact for the derivative of a cubic.
        const drift = [t, (t + next) / 2, next].map((s) => sde.drift(s));
        const integral = (drift[0] + 4 * drift[1] + drift[2]) / 6000;
        const change = Math.log(schedule.at(i + 1).alpha / schedule.at(i).alpha);
        expectClose([integral], [change], F64 * 100, `${beta_schedule} ${i}`);
        expectClose([sde.diffusion(t) ** 2], [-2 * sde.drift(t)], F64 * 1e4);
      }
    }
    for (const className of ['FlowMatchEulerDiscreteScheduler', 'CMStochasticIterativeScheduler']) {
      expect(() => flowProcess(samplerFrom({ _class_name: className }))).toThrow(UnsupportedError);
    }
    const zeroSnr = samplerFrom({ _class_name: 'DDIMScheduler', rescale_betas_zero_snr: true });
    expect(() => flowProcess(zeroSnr)).toThrow(UnsupportedError);
  });
});
