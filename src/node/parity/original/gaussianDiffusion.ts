/** `create_gaussian_diffusion` of improved-diffusion and guided-diffusion, as recorded cases name its arguments. */
import { gaussianProcess, type GaussianProcess, type GaussianProcessConfig } from '../../../sampler/iddpm/process.ts';

/** Its arguments; those of training change no sample. */
export interface DiffusionConfig extends GaussianProcessConfig {
  use_kl?: boolean;
  rescale_learned_sigmas?: boolean;
}

/** What samplers and bounds need to know of a process. */
export type Diffusion = GaussianProcess;

/** The process that the arguments describe. */
export const diffusionOf = (config: DiffusionConfig): Diffusion => gaussianProcess(config);
