import { describe, expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError, ShapeError, UnsupportedError } from '../../../src/engine/errors.ts';
import { HostSpace, samplerFrom, TorchGenerator, type Network } from '../../../src/sampler/index.ts';

const ddpmConfig = { _class_name: 'DDPMScheduler', _diffusers_version: '0.31.0' };
const ddimConfig = { _class_name: 'DDIMScheduler', _diffusers_version: '0.31.0' };
const space = new HostSpace();
const zero: Network = (x) => space.vec(new Float32Array(x.length), x.batch);

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error) => error,
  );
}

describe('samplerFrom', () => {
  test('defaults are the library’s', () => {
    const { config, schedule } = samplerFrom(ddpmConfig);
    expect(config).toMatchObject({ clipSample: true, predictionType: 'epsilon', varianceType: 'fixed_small' });
    expect(config).toMatchObject({ timestepSpacing: 'leading', stepsOffset: 0, ignored: [] });
    expect(schedule.length).toBe(1000);
  });

  test('a config as published, with a leftover of another scheduler: ignored, and listed', () => {
    const { config } = samplerFrom({
      ...ddimConfig,
      skip_prk_steps: true,
      variance_type: 'fixed_small',
      trained_betas: null,
    });
    expect(config.ignored).toEqual(['skip_prk_steps', 'variance_type']);
  });

  test('predict_epsilon is the old name of prediction_type', () => {
    expect(samplerFrom({ ...ddpmConfig, predict_epsilon: false }).config.predictionType).toBe('sample');
    expect(() => samplerFrom({ ...ddpmConfig, predict_epsilon: false, prediction_type: 'epsilon' })).toThrow(
      ConfigError,
    );
  });

  test.each([
    ['beta_schedule', 'parabola'],
    ['num_train_timesteps', 0],
    ['num_train_timesteps', '1000'],
    ['beta_start', -0.1],
    ['beta_end', null, false],
    ['beta_end', 3],
    ['trained_betas', [0.1, 2]],
    ['prediction_type', 'flow_prediction'],
    ['variance_type', 'huge'],
    ['clip_sample', 1],
    ['clip_sample_range', 0],
    ['thresholding', 'yes'],
    ['dynamic_thresholding_ratio', 1.2],
    ['sample_max_value', NaN],
    ['timestep_spacing', 'karras'],
    ['steps_offset', 0.5],
    ['rescale_betas_zero_snr', 'no'],
    ['from_the_future', 1],
  ])('%s: %j', (field, value, refused = true) => {
    const read = (): unknown => samplerFrom({ ...ddpmConfig, [field as string]: value });
    if (!refused) return void expect(read).not.toThrow();
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(new RegExp(field as string));
    try {
      read();
    } catch (error) {
      expect((error as ConfigError).field).toBe(field);
    }
  });

  test('another class', () => {
    expect(() => samplerFrom({ _class_name: 'VQDiffusionScheduler' })).toThrow(UnsupportedError);
    expect(() => samplerFrom({ _class_name: 'UNet2DModel' })).toThrow(ConfigError);
    expect(() => samplerFrom({})).toThrow(/_class_name/);
  });
});

describe('Sampler.sample', () => {
  const x = space.vec(new TorchGenerator(0).randn(24), 1);
  const run = (config: object, options: object = {}): Promise<unknown> => {
    const sampler = samplerFrom(config as Record<string, unknown>);
    return rejection(sampler.sample({ denoiser: sampler.denoiser(zero), x, numInferenceSteps: 4, ...options }));
  };

  test.each([
    ['no steps', ddimConfig, { numInferenceSteps: undefined }, InvalidArgumentError, /numInferenceSteps in 1 … 1000/],
    ['steps 0', ddimConfig, { numInferenceSteps: 0 }, InvalidArgumentError, /numInferenceSteps in 1 … 1000/],
    ['steps 1001', ddpmConfig, { numInferenceSteps: 1001 }, InvalidArgumentError, /numInferenceSteps in 1 … 1000/],
    ['both', ddpmConfig, { timesteps: [5] }, InvalidArgumentError, /numInferenceSteps or timesteps/],
    ['unsorted', ddpmConfig, { numInferenceSteps: undefined, timesteps: [1, 5] }, InvalidArgumentError, /falling/],
    ['eta < 0', ddimConfig, { eta: -0.5 }, InvalidArgumentError, /eta ≥ 0, got -0.5/],
    ['eta NaN', ddimConfig, { eta: NaN }, InvalidArgumentError, /eta/],
    ['eta too large', ddimConfig, { eta: 20, generator: new TorchGenerator() }, InvalidArgumentError, /lower eta/],
    ['eta for DDPM', ddpmConfig, { eta: 1 }, InvalidArgumentError, /DDIMScheduler/],
    ['no generator', ddpmConfig, {}, InvalidArgumentError, /generator/],
    ['start beyond', ddimConfig, { start: 4 }, InvalidArgumentError, /start in 0 … 3/],
    ['offset beyond', { ...ddimConfig, steps_offset: 999 }, {}, InvalidArgumentError, /steps_offset/],
    [
      'no learned variance',
      { ...ddpmConfig, variance_type: 'learned_range' },
      { generator: new TorchGenerator() },
      InvalidArgumentError,
      /twice the channels/,
    ],
    [
      'pure noise says nothing of ε',
      { ...ddimConfig, rescale_betas_zero_snr: true, timestep_spacing: 'trailing', clip_sample: false },
      {},
      InvalidArgumentError,
      /alpha > 0, at timestep 999/,
    ],
  ])('%s', async (_what, config, options, type, message) => {
    const error = await run(config, options);
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
  });

  test('a network of another shape', async () => {
    const sampler = samplerFrom(ddimConfig);
    const denoiser = sampler.denoiser(() => space.vec(new Float32Array(25)));
    expect(await rejection(sampler.sample({ denoiser, x, numInferenceSteps: 2 }))).toBeInstanceOf(ShapeError);
  });

  test('an unknown prediction or variance', async () => {
    const { ddpm, parameterise } = await import('../../../src/sampler/index.ts');
    expect(() => parameterise(zero, 'score' as never)).toThrow(ConfigError);
    expect(() => ddpm({ varianceType: 'big' as never })).toThrow(ConfigError);
  });
});
