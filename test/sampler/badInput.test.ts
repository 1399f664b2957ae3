/** Every refusal names the field and what it may be; the rest of them stand with the solvers' own tests. */
import { describe, expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError, ShapeError } from '../../src/engine/errors.ts';
import * as s from '../../src/sampler/index.ts';

const space = new s.HostSpace();
const x = space.vec(new s.TorchGenerator(0).randn(24), 2);
const denoiser = s.parameterise((v) => v, 'sample');
const picture = space.vec(new Float32Array(24), 2);

describe('functions', () => {
  test.each([
    ['no training steps', () => new s.NoiseSchedule({ numTrainTimesteps: 0 }), /num_train_timesteps ≥ 1/],
    ['β not finite', () => new s.NoiseSchedule({ betaEnd: NaN }), /beta in \[0, 1\], got NaN/],
    ['given β not finite', () => new s.NoiseSchedule({ trainedBetas: [0.1, Infinity] }), /got Infinity at timestep 1/],
    ['a timestep that is no number', () => new s.NoiseSchedule().at(NaN), /timestep in 0 … 999, got NaN/],
    ['no sigmas', () => s.karrasSigmas(0, 0.1, 1), /karrasSigmas: expected count ≥ 1.*count 0/],
    ['half a sigma', () => s.exponentialSigmas(1.5, 0.1, 1), /count 1.5/],
    ['sigmas from 0', () => s.exponentialSigmas(3, 0, 1), /0 < sigmaMin.*sigmaMin 0/],
    ['sigmas the wrong way round', () => s.karrasSigmas(3, 2, 1), /sigmaMin ≤ sigmaMax.*2, sigmaMax 1/],
    ['sigmas without end', () => s.karrasSigmas(3, 1, Infinity), /sigmaMax < ∞/],
    ['rho 0', () => s.karrasSigmas(3, 1, 2, 0), /shape above 0.*shape 0/],
    ['a scale of 0', () => s.laplaceSigmas(3, 1, 2, 0, 0), /laplaceSigmas.*shape 0/],
    ['mu not finite', () => s.laplaceSigmas(3, 1, 2, NaN), /laplaceSigmas/],
    ['a shape below 0', () => s.betaSigmas(3, 1, 2, 0.5, -1), /betaSigmas.*shape -1/],
    ['steps 0', () => s.spacedTimesteps(0, 1000), /numInferenceSteps in 1 … 1000, an integer, got 0/],
    ['steps not finite', () => s.spacedTimesteps(Infinity, 1000), /got Infinity/],
    ['timesteps that repeat', () => s.customTimesteps([5, 5], 10), /strictly falling, got \[5, 5\]/],
    ['no timesteps', () => s.customTimesteps([], 10), /integers in 0 … 9/],
    ['a shift of 0', () => s.shiftSigma(0.5, 0), /shift > 0, got 0.5 and 0/],
    ['a sigma above 1', () => s.shiftSigma(1.5, 3), /sigma in \[0, 1\]/],
    ['no tokens', () => s.resolutionMu(0), /tokens ≥ 1/],
    ['one number of tokens', () => s.resolutionMu(9, { maxImageSeqLen: 256 }), /baseImageSeqLen < maxImageSeqLen/],
    ['data without spread', () => s.edmPreconditioning(0), /sigmaData > 0, got 0/],
    ['data without spread, consistency', () => s.consistencyPreconditioning(NaN), /sigmaData > 0/],
    ['a clipping range of 0', () => s.clipped(denoiser, 0), /clip_sample_range > 0, got 0/],
    ['a ratio above 1', () => s.thresholded(denoiser, 1.01), /dynamic_thresholding_ratio in \[0, 1\]/],
    ['a largest value of NaN', () => s.thresholded(denoiser, 0.9, NaN), /sample_max_value > 0/],
    ['eta < 0 of TCD', () => s.tcd({ eta: -0.1, level: () => s.vpLevel(0, 1) }), /eta in \[0, 1\], got -0.1/],
    ['sNoise < 0', () => s.consistency({ sNoise: -1 }), /sNoise ≥ 0, got 0 and -1/],
    ['timestepScaling 0', () => s.consistencyBoundary(denoiser, 0), /timestepScaling > 0/],
    ['eta < 0 of RePaint', () => s.repaint({ originalImage: x, mask: x, eta: -1, betas: [] }), /eta in \[0, 1\]/],
    ['RePaint without a mask', () => s.repaint({ originalImage: x, betas: [] }), /originalImage and mask/],
  ])('%s', (_what, call, message) => {
    expect(call).toThrow(InvalidArgumentError);
    expect(call).toThrow(message);
  });

  test('a mask of another shape', async () => {
    const mask = space.vec([1, 0]);
    expect(() => s.repaint({ originalImage: x, mask, betas: [] })).toThrow(ShapeError);
    const { transitions, solver } = {
      transitions: [{ from: s.vpLevel(1, 0.5), to: s.vpLevel(0, 1) }],
      solver: s.ddim(),
    };
    for (const wrong of [mask, space.vec(new Float32Array(24), 1)]) {
      const inpainted = s.inpainted(solver, { image: picture, maskImage: wrong });
      const refused = s.runSolver({ x, denoiser, transitions, solver: inpainted });
      await expect(refused).rejects.toThrow(ShapeError);
      await expect(refused).rejects.toThrow(/maskImage of 2 items, 24 elements/);
    }
  });
});

describe('every scheduler class', () => {
  const sample = (name: string, options: object): Promise<unknown> => {
    const sampler = s.samplerFrom({ _class_name: name });
    return sampler.sample({
      denoiser: sampler.denoiser(() => picture),
      x,
      generator: new s.TorchGenerator(0),
      originalImage: name === 'RePaintScheduler' ? picture : undefined,
      mask: name === 'RePaintScheduler' ? picture : undefined,
      ...options,
    });
  };

  test.each(s.SCHEDULER_CLASSES)('%s: numbers of steps that are none', async (name) => {
    for (const numInferenceSteps of [0, -1, 1.5, NaN, Infinity, undefined, 1e6])
      await expect(sample(name, { numInferenceSteps }), String(numInferenceSteps)).rejects.toThrow(/numInferenceSteps/);
  });

  test.each(s.SCHEDULER_CLASSES)('%s: timesteps and sigmas out of order or of no number', async (name) => {
    for (const timesteps of [[], [1, 2], [3, 3], [NaN], [-1], [1e6], [2.5]])
      await expect(sample(name, { timesteps }), String(timesteps)).rejects.toThrow(/timesteps/);
    for (const sigmas of [[], [0.1, 0.2], [0.3, 0.3], [NaN, 0], [Infinity, 1], [0.2, -1]])
      await expect(sample(name, { sigmas }), String(sigmas)).rejects.toThrow(/sigmas/);
    await expect(sample(name, { sigmas: [1, 0.5], timesteps: [5, 2] })).rejects.toThrow(InvalidArgumentError);
  });

  test.each(s.SCHEDULER_CLASSES)('%s: a config from the future', (name) => {
    const read = (): unknown => s.samplerFrom({ _class_name: name, beta_schedule_of_2031: 'spiral' });
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(/beta_schedule_of_2031 = "spiral"/);
    const fields = s.samplerFrom({ _class_name: name }).config;
    expect(fields.ignored).toEqual([]);
  });

  test.each([
    ['EDMEulerScheduler', { sigma_min: 90 }, 'sigma_max', /sigma_min below sigma_max, got 90 and 80/],
    ['EulerDiscreteScheduler', { sigma_min: 2, sigma_max: 1 }, 'sigma_max', /sigma_min below/],
    ['KarrasVeScheduler', { s_min: 60 }, 's_max', /s_min below s_max, got 60 and 50/],
    ['ScoreSdeVpScheduler', { beta_min: 30 }, 'beta_max', /beta_min below beta_max/],
    ['FlowMatchEulerDiscreteScheduler', { shift_terminal: 1 }, 'shift_terminal', /in \(0, 1\), got 1/],
    ['FlowMatchEulerDiscreteScheduler', { invert_sigmas: true }, 'invert_sigmas', /inverted sigmas/],
    ['FlowMatchEulerDiscreteScheduler', { time_shift_type: 'cubic' }, 'time_shift_type', /exponential, linear/],
    ['EulerDiscreteScheduler', { interpolation_type: 'cubic' }, 'interpolation_type', /linear, log_linear/],
    ['EulerDiscreteScheduler', { timestep_type: 'spoken' }, 'timestep_type', /discrete, continuous/],
    ['UnCLIPScheduler', { variance_type: 'fixed_large' }, 'variance_type', /fixed_small_log or learned_range, got/],
    ['UnCLIPScheduler', { prediction_type: 'v_prediction' }, 'prediction_type', /epsilon or sample, got v_/],
    ['UnCLIPScheduler', { beta_schedule: 'linear' }, 'beta_schedule', /squaredcos_cap_v2, got linear/],
    ['TCDScheduler', { original_inference_steps: 0 }, 'original_inference_steps', /integer ≥ 1, got 0/],
  ])('%s %j', (_class_name, fields, field, message) => {
    const read = (): unknown => s.samplerFrom({ _class_name, ...fields });
    expect(read).toThrow(message);
    try {
      read();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      expect((error as ConfigError).field).toBe(field);
    }
  });

  test('mu that is no shift', () => {
    const at = (config: object, mu: number): unknown =>
      s
        .samplerFrom({ _class_name: 'FlowMatchEulerDiscreteScheduler', use_dynamic_shifting: true, ...config })
        .transitions({ numInferenceSteps: 3, mu });
    expect(() => at({}, NaN)).toThrow(/mu finite with time_shift_type exponential, got NaN/);
    expect(() => at({ time_shift_type: 'linear' }, 0)).toThrow(/mu above 0 with time_shift_type linear, got 0/);
  });
});
