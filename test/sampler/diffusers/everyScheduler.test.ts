import { describe, expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError } from '../../../src/engine/errors.ts';
import {
  betaSigmas,
  HostSpace,
  karrasSigmas,
  resolutionMu,
  samplerFrom,
  SCHEDULER_CLASSES,
  timestepOf,
  TorchGenerator,
  trainingSigmas,
  type HostVec,
  type Network,
  type SampleOptions,
  type SamplerState,
  type Vec,
} from '../../../src/sampler/index.ts';
import { expectClose, F64 } from '../../support/close.ts';
import { PoisonSpace } from '../poisonSpace.ts';

const data = (v: Vec): ArrayLike<number> => (v as HostVec).data;

/** Bounded, uneven in x and t. */
const toy: Network = (x, t) => {
  const { space, data: values, batch } = x as HostVec;
  const out = space.vec(
    Array.from(values, (v) => 0.9 * Math.tanh(0.7 * v + Math.sin(t / 100))),
    batch,
  );
  return space instanceof PoisonSpace ? space.track(out) : out;
};

/** What a class needs beside its name. */
const EXTRA: Record<string, Record<string, unknown>> = {
  DPMSolverSinglestepScheduler: { solver_order: 3 },
  UniPCMultistepScheduler: { solver_order: 3 },
  DEISMultistepScheduler: { solver_order: 3 },
  EulerDiscreteScheduler: { use_karras_sigmas: true },
};

const SIZE = 24;

function run(className: string, space: HostSpace, extra: Partial<SampleOptions> = {}): Promise<Vec> {
  const sampler = samplerFrom({ _class_name: className, ...EXTRA[className] });
  const image = space.vec(new TorchGenerator(3).randn(SIZE), 2);
  const mask = space.vec(
    Array.from({ length: SIZE }, (_, i) => i % 2),
    2,
  );
  return sampler.sample({
    denoiser: sampler.denoiser(toy),
    x: space.vec(new TorchGenerator(5).randn(SIZE), 2),
    numInferenceSteps: 7,
    generator: new TorchGenerator(1),
    ...(className === 'RePaintScheduler' && { originalImage: image, mask, jumpLength: 2, jumpNSample: 2 }),
    ...extra,
  });
}

describe('every scheduler class', () => {
  test.each(SCHEDULER_CLASSES)(
    '%s: nothing is used after its step, and a resumed run ends in the same bits',
    async (name) => {
      const states: SamplerState[] = [];
      const whole = await run(name, new HostSpace(), { onStep: async (e) => void states.push(await e.state()) });
      expect(Array.from(data(whole)).every(Number.isFinite)).toBe(true);
      expectClose(data(await run(name, new PoisonSpace())), data(whole), 0);
      for (const resume of states.slice(0, -1))
        expectClose(
          data(await run(name, new HostSpace(), { resume: JSON.parse(JSON.stringify(resume)) })),
          data(whole),
          0,
        );
    },
  );
});

describe('what a config or a call may not say', () => {
  test.each([
    ['two shapes of sigmas', 'EulerDiscreteScheduler', { use_karras_sigmas: true, use_beta_sigmas: true }, /use_/],
    [
      'noise prediction to sigma 0',
      'DPMSolverMultistepScheduler',
      { algorithm_type: 'dpmsolver' },
      /final_sigmas_type/,
    ],
    ['noise prediction of UniPC to sigma 0', 'UniPCMultistepScheduler', { predict_x0: false }, /final_sigmas_type/],
    ['a fourth order', 'DEISMultistepScheduler', { solver_order: 4 }, /solver_order/],
    ['another predictor', 'UniPCMultistepScheduler', { solver_p: {} }, /solver_p/],
    ['EDM trained on x₀', 'EDMEulerScheduler', { prediction_type: 'sample' }, /prediction_type/],
    ['betas of iPNDM', 'IPNDMScheduler', { trained_betas: [0.1, 0.2] }, /trained_betas/],
    ['a field from the future', 'LCMScheduler', { foresight: 1 }, /foresight/],
  ])('%s', (_what, className, fields, message) => {
    const read = (): unknown => samplerFrom({ _class_name: className, ...fields });
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(message);
  });

  test.each([
    ['sChurn < 0', 'EulerDiscreteScheduler', { sChurn: -1 }, /sChurn/],
    ['churn without it', 'HeunDiscreteScheduler', { sChurn: 1 }, /EulerDiscreteScheduler/],
    ['eta > 1', 'TCDScheduler', { eta: 2 }, /eta in \[0, 1\]/],
    ['sigmas elsewhere', 'DDIMScheduler', { sigmas: [1, 0.5] }, /FlowMatchEulerDiscreteScheduler/],
    [
      'sigmas that rise',
      'FlowMatchEulerDiscreteScheduler',
      { numInferenceSteps: undefined, sigmas: [0.5, 1] },
      /strictly falling/,
    ],
    [
      'sigmas not finite',
      'FlowMatchEulerDiscreteScheduler',
      { numInferenceSteps: undefined, sigmas: [NaN] },
      /sigmas in \(0, 1\]/,
    ],
    ['timesteps of EDM', 'EDMEulerScheduler', { numInferenceSteps: undefined, timesteps: [5] }, /steps are fixed/],
    ['too few for Runge–Kutta', 'PNDMScheduler', { numInferenceSteps: 3 }, /skip_prk_steps/],
    ['more than the teacher', 'LCMScheduler', { numInferenceSteps: 51 }, /original_inference_steps/],
    ['no mask', 'RePaintScheduler', { mask: undefined }, /mask/],
    ['no jump', 'RePaintScheduler', { jumpLength: 0 }, /jumpLength/],
  ])('%s', async (_what, className, options, message) => {
    const refused = run(className, new HostSpace(), options);
    await expect(refused).rejects.toThrow(InvalidArgumentError);
    await expect(refused).rejects.toThrow(message);
  });

  test('dynamic shifting needs mu, which follows from the number of tokens', () => {
    const sampler = samplerFrom({ _class_name: 'FlowMatchEulerDiscreteScheduler', use_dynamic_shifting: true });
    expect(() => sampler.timesteps({ numInferenceSteps: 4 })).toThrow(/resolutionMu/);
    expect(sampler.timesteps({ numInferenceSteps: 4, mu: resolutionMu(1024) })).toHaveLength(4);
    expectClose([resolutionMu(256), resolutionMu(4096), resolutionMu(2176)], [0.5, 1.15, 0.825], F64);
  });
});

describe('sigmas', () => {
  test('a timestep and its sigma belong together', () => {
    const sigmas = trainingSigmas(samplerFrom({ _class_name: 'DDPMScheduler' }).schedule);
    const found = [0, 1, 500, 998, 999].map((t) => timestepOf(sigmas, sigmas[t]));
    expectClose(found, [0, 1, 500, 998, 999], F64 * sigmas.length);
  });

  test('beta sigmas with a = b = 1 are even, with a = b symmetric', () => {
    expectClose(betaSigmas(5, 0, 4, 1, 1), [4, 3, 2, 1, 0], F64);
    const [, a, middle, b] = betaSigmas(5, 0, 1);
    expectClose([a + b, middle], [1, 0.5], F64);
    // scipy.stats.beta.ppf(0.9, 0.6, 0.6)
    expectClose([betaSigmas(11, 0, 1)[1]], [0.9604155944112192], F64);
    // Arcsine distribution: the quantile is sin²(πp/2).
    expectClose(betaSigmas(4, 0, 1, 0.5, 0.5), [1, 0.75, 0.25, 0], F64);
  });

  test('Karras sigmas reach both ends, dense at the clean one', () => {
    const sigmas = karrasSigmas(3, 1, 128);
    expectClose([sigmas[0], sigmas[1], sigmas[2]], [128, 1.5 ** 7, 1], F64 * 128);
  });

  test.each(['use_exponential_sigmas', 'use_beta_sigmas'])('%s: falling, from the largest', (field) => {
    for (const _class_name of ['EulerDiscreteScheduler', 'DPMSolverMultistepScheduler']) {
      const sampler = samplerFrom({ _class_name, [field]: true });
      const t = sampler.timesteps({ numInferenceSteps: 6 });
      expect(t[0]).toBe(999);
      expect(t.every((v, i) => i === 0 || v < t[i - 1])).toBe(true);
    }
  });
});
