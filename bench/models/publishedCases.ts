import { Weights } from '../../src/engine/index.ts';
import type { Directory } from '../../src/loading/index.ts';
import { F16_PIPELINE, NETWORK_NORM } from '../../test/support/close.ts';
import { seededWeights } from '../seeded.ts';
import { MismatchError } from '../verify.ts';
import type { NetworkCase } from './modelCase.ts';
import { PUBLISHED, recordModel, type Recorded } from './published.ts';
import { readTruth, truthError } from './truth.ts';

const TOLERANCE = { f32: NETWORK_NORM, f16: F16_PIPELINE } as const;

/** One step of every published model, or one decode. @param truths the folder of recorded outputs */
export function publishedNetworks(truths: Directory, dtype: 'f32' | 'f16'): NetworkCase[] {
  return Object.entries(PUBLISHED).map(([name, model]) => {
    const check = async (out: Float32Array) => truthError(out, await readTruth(truths, name)) / TOLERANCE[dtype];
    return {
      ...seededNetwork(model.case, recordModel(model, dtype), check),
      peerWork: { work: { model: name }, check },
    };
  });
}

/**
 * A network with seeded weights.
 * @param name `group/id`
 * @param check the largest error of its output as a fraction of what is tolerated
 */
export function seededNetwork(
  name: string,
  { graph, inputs, wanted }: Recorded,
  check: (out: Float32Array) => number | Promise<number>,
): NetworkCase {
  const [group, id] = name.split('/');
  // Shared by programs of one network that are open at once, and let go with them.
  let shared: WeakRef<ReturnType<typeof seededWeights>> | undefined;
  return {
    ...{ group, id, dtype: graph.dtype, graph },
    async work(device) {
      const source = shared?.deref() ?? seededWeights(wanted);
      shared = new WeakRef(source);
      source.prepare();
      return {
        graph,
        weights: new Weights(device, source),
        inputs,
        async verify(program) {
          await program.run();
          const error = await check(await program.read('out'));
          if (!(error <= 1)) {
            throw new MismatchError(`bench: wrong result; ${name}: error is ${error} of what is tolerated`);
          }
          return error;
        },
      };
    },
  };
}
