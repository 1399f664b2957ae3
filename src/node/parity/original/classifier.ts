/** Parity with guided-diffusion's classifier. */
import { UnsupportedError } from '../../../engine/errors.ts';
import type { RawConfig } from '../../../loading/index.ts';
import type { ModelOutput, TensorInput } from '../../../models/index.ts';
import type { NetworkCase } from './weights.ts';

/** What guidance asks of a classifier. */
export interface Judge {
  gradient(call: {
    sample: TensorInput;
    timestep: number;
    classLabels: readonly number[];
  }): Promise<{ gradient: ModelOutput }>;
}

/** Opens the classifier of a case. */
export async function withClassifier(
  _c: NetworkCase,
  config: RawConfig,
  _files: readonly string[],
  _run: (judge: Judge) => Promise<void>,
): Promise<void> {
  throw new UnsupportedError(`expected a network that is built, got ${String(config['_class_name'])}`);
}
