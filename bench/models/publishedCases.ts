import { Weights } from '../../src/engine/index.ts';
import type { Directory } from '../../src/loading/index.ts';
import { F16_PIPELINE, NETWORK_NORM } from '../../test/support/close.ts';
import type { BenchCase } from '../case.ts';
import { ProgramSubject } from '../programSubject.ts';
import { seededWeights } from '../seeded.ts';
import { MismatchError } from '../verify.ts';
import { modelCase } from './modelCase.ts';
import { PUBLISHED, recordModel } from './published.ts';
import { readTruth, truthError } from './truth.ts';

const TOLERANCE = { f32: NETWORK_NORM, f16: F16_PIPELINE } as const;

/** One step of every published model, or one decode. @param truths the folder of recorded outputs */
export function publishedCases(truths: Directory, dtype: 'f32' | 'f16'): BenchCase[] {
  return Object.entries(PUBLISHED).map(([name, model]) => {
    const [group, id] = model.case.split('/');
    const check = async (out: Float32Array) => truthError(out, await readTruth(truths, name)) / TOLERANCE[dtype];
    const { graph } = recordModel(model, dtype);
    return modelCase({ group, id, dtype, graph, peerWork: { work: { model: name }, check } }, async (device) => {
      const { inputs, wanted } = recordModel(model, dtype);
      const source = seededWeights(wanted);
      source.prepare();
      return new ProgramSubject(device, {
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
      });
    });
  });
}
