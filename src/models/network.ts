/** What networks on a device have in common, whatever they are called with. */
import type { Profile, Report } from '../engine/index.ts';
import type { LoadedModel } from './loadedModel.ts';
import type { RunOptions } from './modelRuntime.ts';

/**
 * A network with its weights on a device. A class of it adds `load` and what a call takes and gives. `Form` is what
 * changes the recording, `Shape` what users say of it.
 */
export abstract class Network<Config, Form extends object, Shape extends Form = Form> {
  protected constructor(protected readonly model: LoadedModel<Config, Form>) {}

  /** The config that it was loaded with, every field of it. */
  get config(): Config {
    return this.model.config;
  }

  /** Where the time of a call of that shape goes, dispatch by dispatch. @throws as a call does */
  profile(shape: Shape, options?: RunOptions): Promise<Profile> {
    return this.model.profile(shape, options);
  }

  /**
   * What a call of that shape takes here; nothing is allocated.
   * @throws LimitError when it does not fit; InvalidArgumentError, ShapeError for a shape that the network cannot have.
   */
  plan(shape: Shape): Report {
    return this.model.plan(shape);
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.model.weightBytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. */
  dispose(): void {
    this.model.dispose();
  }
}
