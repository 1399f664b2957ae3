/** The kernel suite: every shape, in either storage type. */
import { Weights, type Device, type WeightSource } from '../../src/engine/index.ts';
import type { BenchCase } from '../case.ts';
import { ProgramSubject } from '../programSubject.ts';
import { verifyClose } from '../verify.ts';
import { bytesOf, count, flopsOf, operands, problemData, type Problem, type ProblemData } from './problem.ts';
import { recordProblem } from './record.ts';
import { SHAPES, type Shape } from './shapes.ts';
import { sampleIndices, truthOf } from './truth.ts';

export const kernelCases = (dtype: 'f32' | 'f16'): BenchCase[] => SHAPES.map((shape) => kernelCase(shape, dtype));

export function kernelCase({ id, problem, quick }: Shape, dtype: 'f32' | 'f16'): BenchCase {
  const name = `${problem.op}/${id}`;
  return {
    suite: 'kernels',
    group: problem.op,
    name,
    dtype,
    flops: flopsOf(problem),
    bytes: bytesOf(problem, dtype),
    quick,
    problem,
    async open(device: Device) {
      const data = problemData(problem, dtype);
      const graph = recordProblem(problem, dtype);
      const weights = new Weights(device, recordSource(problem, data));
      await weights.load(graph);
      return new ProgramSubject(device, {
        graph,
        weights,
        inputs: data,
        async verify(program) {
          await program.run();
          return verifyProblem(problem, data, dtype, await program.read('out'), name);
        },
      });
    },
  };
}

/** Sampled outputs against f64. @throws MismatchError */
export function verifyProblem(
  problem: Problem,
  data: ProblemData,
  dtype: 'f32' | 'f16',
  out: Float32Array,
  what: string,
): number {
  const indices = sampleIndices(count(operands(problem).out));
  const truths = indices.map(truthOf(problem, data, dtype));
  return verifyClose(
    indices.map((i) => out[i]),
    truths.map((t) => t.want),
    truths.map((t) => t.tolerance),
    what,
  );
}

/** Data by name as a place that weights come from. */
function recordSource(problem: Problem, data: ProblemData): WeightSource {
  const { weights } = operands(problem);
  return {
    name: 'seeded data',
    keys: () => Object.keys(weights),
    info: (key) => weights[key] && { dtype: 'F32', shape: weights[key].shape },
    read: async (key) => data[key],
  };
}
