/** The lengths of masks that a call asks for: they follow from the sizes of all levels, so a recording tells them. */
import { Graph } from '../../engine/index.ts';
import type { ModelDefinition } from '../loadedModel.ts';
import { WeightScope } from '../weightScope.ts';
import type { ConditionForm } from './conditionInputs.ts';

type Inputs = readonly (readonly [name: string, shape: readonly number[]])[];

/** Remembers the form of call that was asked for last. */
export class MaskLengths<Config, Call extends ConditionForm> {
  private key = '';
  private inputs: Inputs = [];

  constructor(private readonly definition: ModelDefinition<Config, Call>) {}

  /** Names and shapes of the inputs that a call with masks declares; none without. */
  of(config: Config, call: Call): Inputs {
    if (call.attentionMask === 0 && !call.encoderAttentionMask) return [];
    const key = JSON.stringify(call);
    if (key !== this.key) {
      const g = new Graph('f32');
      this.definition.record(g, new WeightScope(), config, call);
      this.inputs = [...g.inputs].map(([name, { shape }]) => [name, shape]);
      this.key = key;
    }
    return this.inputs;
  }
}
