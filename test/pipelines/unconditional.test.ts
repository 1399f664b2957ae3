/**
 * Pictures from noise in pixels: each kind against its loop written out on the host, options, what is refused and left.
 */
import { describe, expect, it } from 'vitest';
import { AbortedError, ConfigError, InvalidArgumentError, UnsupportedError } from '../../src/engine/index.ts';
import { UNet2D } from '../../src/models/index.ts';
import { Pipeline } from '../../src/pipelines/index.ts';
import { HostSpace, samplerFrom, TorchGenerator } from '../../src/sampler/index.ts';
import { expectClose, LIKELIHOOD_NATS, NETWORK_NORM } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';
import { changed, failure, fixture, tensorsOf } from '../models/fixtures.ts';
import { f32 } from '../loading/files.ts';
import { heldBy, hostNetwork, largest, pipelineFolder } from './folders.ts';

type Config = Record<string, unknown>;
const DDPM: Config = {
  _class_name: 'DDPMScheduler',
  num_train_timesteps: 1000,
  beta_schedule: 'linear',
  clip_sample: true,
};
const folder = (className: string, unet: string, scheduler: Config) =>
  pipelineFolder({ className, parts: { unet }, schedulers: { scheduler } });

describe('pictures from noise', async () => {
  const device = await openDevice(adapters()[0]);

  /** The same run on the host: the sampler there, the network here. */
  const byHand = async (unet: string, scheduler: Config, batch: number, steps: object, classLabels?: number[]) => {
    const model = await UNet2D.load(device, fixture(unet));
    const [space, generator] = [new HostSpace(), new TorchGenerator(3)];
    const [height, width] = model.config.sampleSize!;
    const shape = [batch, 3, height, width];
    const sampler = samplerFrom(scheduler);
    const network = hostNetwork(space, shape, (sample, timestep) => model.forward({ sample, timestep, classLabels }));
    const x = space.vec(generator.randn(batch * 3 * height * width), batch);
    const out = await sampler.sample({ x, generator, denoiser: sampler.denoiser(network), ...steps });
    model.dispose();
    return Float32Array.from(await space.read(out));
  };

  it.each([
    ['DDPMPipeline', DDPM, {}, DDPM],
    ['DDIMPipeline', DDPM, { eta: 0.5, useClippedModelOutput: true }, { ...DDPM, _class_name: 'DDIMScheduler' }],
    ['PNDMPipeline', DDPM, {}, { ...DDPM, _class_name: 'PNDMScheduler' }],
    ['DDPMPipeline', DDPM, { scheduler: 'EulerDiscreteScheduler' }, { ...DDPM, _class_name: 'EulerDiscreteScheduler' }],
  ] as const)('%s takes the steps of its scheduler', async (className, scheduler, options, own) => {
    const before = await heldBy(device);
    const pipe = await Pipeline.fromPretrained(folder(className, 'unet2d_ddpm_cifar', scheduler), { device });
    const call = { batchSize: 2, numInferenceSteps: 5, generator: 3, ...options };
    const { images, latents, timing } = await pipe(call);
    const { eta, useClippedModelOutput } = call as { eta?: number; useClippedModelOutput?: boolean };
    const want = await byHand('unet2d_ddpm_cifar', own, 2, { numInferenceSteps: 5, eta, useClippedModelOutput });
    expectClose(latents, want, NETWORK_NORM * largest(want), 'state');
    const picture = latents.subarray(768).map((v) => Math.min(1, Math.max(0, v * 0.5 + 0.5)));
    expect(await images[1].toTensor()).toEqual(picture);
    expect(images[1]).toMatchObject({ width: 16, height: 16 });
    expect(timing.stepMs).toHaveLength(5);
    images.forEach((image) => image.dispose());
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('KarrasVePipeline shows the network pictures of 0 … 1', async () => {
    const config = {
      _class_name: 'KarrasVeScheduler',
      sigma_min: 0.1,
      sigma_max: 5,
      s_churn: 20,
      s_min: 0.05,
      s_max: 50,
    };
    const pipe = await Pipeline.fromPretrained(folder('KarrasVePipeline', 'unet2d_ncsnpp', config), { device });
    const { latents, images } = await pipe({ numInferenceSteps: 4, generator: 3 });
    const unet = await UNet2D.load(device, fixture('unet2d_ncsnpp'));
    const generator = new TorchGenerator(3);
    const size = 3 * 16 * 16;
    const told = async (x: Float32Array, sigma: number) => {
      const sample = { data: x.map((v) => (v + 1) / 2), shape: [1, 3, 16, 16] };
      const out = await (await unet.forward({ sample, timestep: sigma / 2 })).read();
      return out.map((v) => (sigma / 2) * v); // model_output
    };
    let x = generator.randn(size).map((v) => 5 * v);
    const schedule = [0, 1, 2, 3].map((i) => 25 * (0.01 / 25) ** (i / 3));
    for (let i = 0; i < 4; i++) {
      const [sigma, next] = [schedule[i], schedule[i + 1] ?? 0];
      const gamma = sigma >= 0.05 && sigma <= 50 ? Math.min(20 / 4, Math.SQRT2 - 1) : 0;
      const noise = generator.randn(size).map((v) => 1.007 * v);
      const hat = sigma + gamma * sigma;
      const xHat = x.map((v, k) => v + Math.sqrt(hat ** 2 - sigma ** 2) * noise[k]);
      const d = (await told(xHat, hat)).map((o) => -o); // (x − (x + sigma·o)) / sigma
      x = xHat.map((v, k) => v + (next - hat) * d[k]);
      if (next === 0) continue;
      const e = (await told(x, next)).map((o) => -o);
      x = xHat.map((v, k) => v + (next - hat) * (0.5 * d[k] + 0.5 * e[k]));
    }
    unet.dispose();
    expectClose(latents, x, NETWORK_NORM * largest(x), 'state');
    images.forEach((image) => image.dispose());
    await pipe.dispose();
  });

  it('ScoreSdeVePipeline ends in the mean of its last step, whose range is 0 … 1', async () => {
    const [lo, hi, steps, snr] = [0.05, 20, 4, 0.15];
    const config = { _class_name: 'ScoreSdeVeScheduler', num_train_timesteps: 100, snr, sigma_min: lo, sigma_max: hi };
    const pipe = await Pipeline.fromPretrained(folder('ScoreSdeVePipeline', 'unet2d_ncsnpp', config), { device });
    const { latents, images } = await pipe({ numInferenceSteps: steps, generator: 3, batchSize: 2 });
    const unet = await UNet2D.load(device, fixture('unet2d_ncsnpp'));
    const generator = new TorchGenerator(3);
    const size = 2 * 768;
    const norms = (v: Float32Array) => (Math.hypot(...v.subarray(0, 768)) + Math.hypot(...v.subarray(768))) / 2;
    const score = async (x: Float32Array, timestep: number) =>
      (await unet.forward({ sample: { data: x, shape: [2, 3, 16, 16] }, timestep })).read();
    let x = generator.randn(size).map((v) => hi * v);
    let mean = x;
    for (let i = 0; i < steps; i++) {
      const t = 1 - (i * (1 - 1e-5)) / (steps - 1);
      const sigma = lo * (hi / lo) ** t;
      const g = await score(x, sigma);
      const z = generator.randn(size);
      const step = ((snr * norms(z)) / norms(g)) ** 2 * 2;
      x = x.map((v, k) => v + step * g[k] + Math.sqrt(2 * step) * z[k]);
      const place = Math.floor(t * (steps - 1));
      const grid = (k: number) => Math.exp(Math.log(lo) + (k / (steps - 1)) * Math.log(hi / lo));
      const variance = grid(place) ** 2 - (place > 0 ? grid(place - 1) ** 2 : 0);
      const s = await score(x, sigma);
      mean = x.map((v, k) => v + variance * s[k]);
      const w = generator.randn(size);
      x = mean.map((v, k) => v + Math.sqrt(variance) * w[k]);
    }
    unet.dispose();
    expectClose(latents, mean, NETWORK_NORM * largest(mean), 'mean');
    const picture = latents.subarray(0, 768).map((v) => Math.min(1, Math.max(0, v)));
    expectClose(await images[0].toTensor(), picture, NETWORK_NORM, 'picture');
    images.forEach((image) => image.dispose());
    expect(await failure(pipe({ scheduler: 'DDIMScheduler' }))).toBeInstanceOf(InvalidArgumentError);
    expect(await failure(pipe({ eta: 1, numInferenceSteps: 2 }))).toBeInstanceOf(InvalidArgumentError);
    await pipe.dispose();
  });

  it('ConsistencyModelPipeline: one step, chosen steps, classes told or drawn', async () => {
    const config = { _class_name: 'CMStochasticIterativeScheduler', num_train_timesteps: 40, sigma_max: 80 };
    const unet = 'unet2d_cd_imagenet64';
    const pipe = await Pipeline.fromPretrained(folder('ConsistencyModelPipeline', unet, config), { device });
    const [one, few] = [{ classLabels: [4, 1] }, { classLabels: 4, timesteps: [22, 0] }];
    for (const [call, labels, steps] of [
      [one, [4, 1], { numInferenceSteps: 1 }],
      [few, [4, 4], { timesteps: [22, 0] }],
    ] as const) {
      const { latents, images, classLabels } = await pipe({ ...call, batchSize: 2, generator: 3 });
      const want = await byHand(unet, config, 2, steps, [...labels]);
      expectClose(latents, want, NETWORK_NORM * largest(want), JSON.stringify(steps));
      expect(classLabels).toEqual(labels);
      images.forEach((image) => image.dispose());
    }
    const drawn = await pipe({ batchSize: 2, generator: 3 });
    expect(drawn.classLabels).toHaveLength(2);
    const again = await pipe({ batchSize: 2, generator: 3, classLabels: drawn.classLabels });
    expect(again.latents).toEqual(drawn.latents);
    expect(largest(again.latents)).toBeLessThanOrEqual(1);
    [...drawn.images, ...again.images].forEach((image) => image.dispose());
    expect((await failure(pipe({ classLabels: 7 }))).message).toMatch(/0 … 6, got 7/);
    expect((await failure(pipe({ classLabels: [1, 2] }))).message).toMatch(/1 or 1 classLabels, got 2/);
    expect(await failure(pipe({ classLabels: 1, timesteps: [0, 22] }))).toBeInstanceOf(InvalidArgumentError);
    await pipe.dispose();
  });

  it('previews, stops and goes on; sizes in pixels; a plan and a profile without decoder', async () => {
    const before = await heldBy(device);
    const pipe = await Pipeline.fromPretrained(folder('DDPMPipeline', 'unet2d_ddpm_cifar', DDPM), { device });
    expect(pipe.sampleSize).toEqual({ width: 16, height: 16 });
    const call = { numInferenceSteps: 3, generator: 5, width: 24, height: 16 };
    const whole = await pipe(call);
    expect(whole.images[0]).toMatchObject({ width: 24, height: 16 });
    const controller = new AbortController();
    let state;
    const stopped = pipe({
      ...call,
      signal: controller.signal,
      onStep: async (event) => {
        for (const image of await event.preview()) image.dispose();
        state = await event.state();
        controller.abort();
      },
    });
    expect(await failure(stopped)).toBeInstanceOf(AbortedError);
    const rest = await pipe({ ...call, resume: state });
    expect(rest.latents).toEqual(whole.latents);
    [...whole.images, ...rest.images].forEach((image) => image.dispose());
    expect(pipe.plan({ batchSize: 2 })).toMatchObject({ fits: true, dispatches: { decoder: 0 } });
    expect((await pipe.profile()).decoder.rows).toEqual([]);
    expect((await failure(pipe({ width: 18 }))).message).toMatch(/multiple of 4, got 18/);
    expect(await failure(pipe({ batchSize: 0 }))).toBeInstanceOf(InvalidArgumentError);
    expect(await failure(pipe({ numInferenceSteps: 2, classLabels: [1] }))).toBeInstanceOf(InvalidArgumentError);
    expect(await failure(pipe.reconstruct!({ data: new Float32Array(768), shape: [1, 3, 16, 16] }))).toBeInstanceOf(
      UnsupportedError,
    );
    await pipe.dispose();
    expect(await heldBy(device)).toEqual(before);
  });

  it('one channel is shown as grey; others are refused, as are bad schedulers, and nothing is left', async () => {
    const before = await heldBy(device);
    const tensors = await tensorsOf('unet2d_ddpm_cifar');
    const config = (await (await changed('unet2d_ddpm_cifar', {})).json('config.json')) as Config;
    const values = (key: string) => new Float32Array(Uint8Array.from(tensors[key].bytes).buffer);
    const cut = (channels: number) => {
      const [weight, out] = [values('conv_in.weight'), values('conv_out.weight')];
      const first = Float32Array.from({ length: 16 * channels * 9 }, (_, i) => weight[i % weight.length]);
      const last = Float32Array.from({ length: channels * 16 * 9 }, (_, i) => out[i % out.length]);
      return pipelineFolder({
        className: 'DDPMPipeline',
        parts: {
          unet: {
            config: { ...config, in_channels: channels, out_channels: channels },
            tensors: {
              ...tensors,
              'conv_in.weight': f32([16, channels, 3, 3], first),
              'conv_out.weight': f32([channels, 16, 3, 3], last),
              'conv_out.bias': f32([channels]),
            },
          },
        },
        schedulers: { scheduler: DDPM },
      });
    };
    const pipe = await Pipeline.fromPretrained(cut(1), { device });
    const { images, latents } = await pipe({ numInferenceSteps: 2, generator: 1, batchSize: 2 });
    const grey = latents.subarray(256);
    expect(await images[1].toPlanes()).toEqual(Float32Array.from([...grey, ...grey, ...grey]));
    images.forEach((image) => image.dispose());
    await pipe.dispose();
    expect(await failure(Pipeline.fromPretrained(cut(2), { device }))).toBeInstanceOf(UnsupportedError);
    const odd = folder('DDPMPipeline', 'unet2d_ddpm_cifar', { ...DDPM, beta_schedule: 'magic' });
    expect(await failure(Pipeline.fromPretrained(odd, { device }))).toBeInstanceOf(ConfigError);
    const other = folder('DDPMPipeline', 'vq_ldm', DDPM);
    expect(await failure(Pipeline.fromPretrained(other, { device }))).toBeInstanceOf(ConfigError);
    expect(await heldBy(device)).toEqual(before);
  });

  it('likelihood: of a network that says nothing, the Gaussian that the flow leaves', async () => {
    const config = (await fixture('unet2d_ddpm_cifar').json('config.json')) as Config;
    const tensors = await tensorsOf('unet2d_ddpm_cifar');
    for (const key of ['conv_out.weight', 'conv_out.bias']) tensors[key].bytes.fill(0);
    const parts = { unet: { config, tensors } };
    const short = { ...DDPM, num_train_timesteps: 100 };
    const pipe = await Pipeline.fromPretrained(
      pipelineFolder({ className: 'DDIMPipeline', parts, schedulers: { scheduler: short } }),
      { device },
    );
    const data = new TorchGenerator(1).randn(2 * 3 * 8 * 8).map((v) => 0.5 * v);
    const found = await pipe.likelihood!({
      image: { data, shape: [2, 3, 8, 8] },
      rtol: 1e-5,
      atol: 1e-5,
      difference: 0.1,
    });
    const { alphasCumprod } = samplerFrom(short).schedule;
    const shrink = Math.sqrt(alphasCumprod[99] / alphasCumprod[0]);
    for (const b of [0, 1]) {
      const x = data.subarray(192 * b, 192 * (b + 1));
      const square = x.reduce((sum, v) => sum + (shrink * v) ** 2, 0);
      const want = -square / 2 - 96 * Math.log(2 * Math.PI) + 192 * Math.log(shrink);
      expectClose([found.logLikelihood[b]], [want], LIKELIHOOD_NATS * 192, 'nats');
      expectClose([found.bitsPerDim[b]], [-want / (192 * Math.LN2) + 7], LIKELIHOOD_NATS / Math.LN2, 'bits');
    }
    expectClose(
      found.latents,
      data.map((v) => shrink * v),
      NETWORK_NORM,
      'latents',
    );
    const bytes = { data: new Uint8Array(4 * 64).fill(128), width: 8, height: 8 };
    const [a, b] = [
      await pipe.likelihood!({ image: bytes, generator: 1, rtol: 1, atol: 1 }),
      await pipe.likelihood!({ image: bytes, generator: 1, rtol: 1, atol: 1 }),
    ];
    expect(a).toEqual(b);
    expect(await failure(pipe.likelihood!({ image: bytes, probes: 0 }))).toBeInstanceOf(InvalidArgumentError);
    await pipe.dispose();
  });
});
