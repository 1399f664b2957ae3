/** Every scheduler class, in the variants that compute differently. */
import * as s from '../../../src/sampler/index.ts';
import { BATCH, noise, SIZE, STEPS, type SolverCase } from './case.ts';

/** What a scheduler class needs beside its name. */
const CONFIGS: Readonly<Record<string, readonly [string, Record<string, unknown>, Partial<s.SampleOptions>?][]>> = {
  DDIMScheduler: [
    ['', { clip_sample: false }],
    [', clipped, η = 0.7', {}, { eta: 0.7, useClippedModelOutput: true }],
    [', dynamic thresholding', { clip_sample: false, thresholding: true, sample_max_value: 2 }],
  ],
  DDPMScheduler: [
    ['', { clip_sample: false }],
    [', clipped', {}],
    [', learned range', { variance_type: 'learned_range' }],
  ],
  DPMSolverMultistepScheduler: [
    ['', {}],
    [', third order', { solver_order: 3 }],
    [', SDE', { algorithm_type: 'sde-dpmsolver++' }],
  ],
  DPMSolverSinglestepScheduler: [['', { solver_order: 3 }]],
  UniPCMultistepScheduler: [
    ['', {}],
    [', third order', { solver_order: 3 }],
  ],
  DEISMultistepScheduler: [['', { solver_order: 3 }]],
  EulerDiscreteScheduler: [
    ['', { use_karras_sigmas: true }],
    [', churn', {}, { sChurn: 3 }],
  ],
  PNDMScheduler: [
    ['', {}],
    [', PLMS', { skip_prk_steps: true }],
  ],
};

/** One case or more per class. */
export const schedulers: SolverCase[] = s.SCHEDULER_CLASSES.flatMap((className) =>
  (CONFIGS[className] ?? [['', {}] as const]).map(([suffix, config, options]): SolverCase => ({
    name: `${className}${suffix}`,
    run(space, network, extras) {
      const sampler = s.samplerFrom({ _class_name: className, ...config });
      const originalImage = space.vec(new s.TorchGenerator(3).randn(SIZE), BATCH);
      const mask = space.vec(
        Array.from({ length: SIZE }, (_, i) => i % 2),
        BATCH,
      );
      return sampler.sample({
        denoiser: sampler.denoiser(network),
        x: noise(space),
        numInferenceSteps: STEPS,
        ...(className === 'RePaintScheduler' && { originalImage, mask, jumpLength: 2, jumpNSample: 2 }),
        ...extras,
        ...options,
      });
    },
  })),
);
