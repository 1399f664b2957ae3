/** What a config of score_sde says of process and sampling: its sections `training`, `sampling` and `model`. */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { section } from '../../models/scoreSde/sections.ts';
import { CORRECTORS, PREDICTORS, type PredictorCorrectorOptions } from '../../sampler/sde/predictorCorrector.ts';
import { subVpSde, veSde, vpSde, type Sde } from '../../sampler/sde/sde.ts';

/** Read and ready. */
export interface ScoreSdeSetup {
  /** The process with so many discrete steps. @throws InvalidArgumentError unless steps ≥ 1 */
  process(steps: number): Sde;
  /** Discrete steps that the config names, `num_scales`. */
  steps: number;
  /** Whether the network was trained on all times, or on the discrete steps. */
  continuous: boolean;
  method: 'pc' | 'ode';
  /** What pipelines take where a call does not say. */
  sampling: Required<Omit<PredictorCorrectorOptions, 'onMove'>>;
}

/** Of the sampling section: files, and numbers of pictures. */
const IGNORED = ['begin_ckpt', 'end_ckpt', 'batch_size', 'enable_sampling', 'num_samples', 'enable_loss', 'enable_bpd'];

/**
 * Reads the three sections. `sampling` may be missing.
 * @throws ConfigError naming a field that is not understood
 */
export function readScoreSdeSetup(raw: RawConfig): ScoreSdeSetup {
  const model = section(raw, 'NCSNpp', 'model');
  const training = section(raw, 'NCSNpp', 'training');
  const sampling = new ConfigReader((raw.sampling ?? {}) as RawConfig, 'NCSNpp sampling');
  const kind = training.string('sde').toLowerCase();
  const processes: Readonly<Record<string, (steps: number) => Sde>> = {
    vesde: (n) => veSde(model.number('sigma_min', 0.01), model.number('sigma_max', 50), n),
    vpsde: (n) => vpSde(model.number('beta_min', 0.1), model.number('beta_max', 20), n),
    subvpsde: (n) => subVpSde(model.number('beta_min', 0.1), model.number('beta_max', 20), n),
  };
  if (!Object.hasOwn(processes, kind)) training.refuse('sde', '"vesde", "vpsde" or "subvpsde"');
  const read = <const T extends string>(field: string, known: readonly T[], usual: NoInfer<T>) => {
    const name = sampling.string(field, usual).toLowerCase();
    return known.find((v) => v === name) ?? sampling.refuse(field, known.map((v) => `"${v}"`).join(' or '));
  };
  const setup: ScoreSdeSetup = {
    process: processes[kind],
    steps: model.int('num_scales', 1000, { min: 1 }),
    continuous: training.bool('continuous', true),
    method: read('method', ['pc', 'ode'], 'pc'),
    sampling: {
      predictor: read('predictor', PREDICTORS, 'reverse_diffusion'),
      corrector: read('corrector', CORRECTORS, kind === 'vesde' ? 'langevin' : 'none'),
      snr: sampling.number('snr', 0.16, { min: 0 }),
      correctorSteps: sampling.int('n_steps_each', 1, { min: 1 }),
      probabilityFlow: sampling.bool('probability_flow', false),
      denoise: sampling.bool('noise_removal', true),
    },
  };
  sampling.ignored(IGNORED);
  sampling.done();
  return setup;
}

/**
 * What the authors' score function tells a network at time t: sigma or an index in a variance-exploding process, 999·t
 * or an index in the others; f32.
 */
export function toldAt(sde: Sde, t: number, continuous: boolean): number {
  const f = Math.fround;
  if (sde.kind === 've') return continuous ? sde.level(t).sigma : Math.round(f(f(1 - t) * (sde.steps - 1)));
  return f(f(t) * (continuous || sde.kind === 'subvp' ? 999 : sde.steps - 1));
}
