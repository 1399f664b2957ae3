/** The kernel suite: every shape, in either storage type. */
import { Weights, type Device, type WeightSource } from '../../src/engine/index.ts';
import type { BenchCase } from '../case.ts';
import { ProgramSubject, type ProgramWork } from '../programSubject.ts';
import { errorOf, verifyClose } from '../verify.ts';
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
    peerWork: { work: { problem }, check: (out) => problemError(problem, problemData(problem, dtype), dtype, out) },
    open: async (device) => new ProgramSubject(device, problemWork(problem, dtype, device, name)),
  };
}

/** A problem with its data, whose result is compared with the truth. */
export function problemWork(problem: Problem, dtype: 'f32' | 'f16', device: Device, name: string): ProgramWork {
  const data = problemData(problem, dtype);
  return {
    graph: recordProblem(problem, dtype),
    weights: new Weights(device, recordSource(problem, data)),
    inputs: data,
    async verify(program) {
      await program.run();
      const { got, want, tolerance } = samples(problem, data, dtype, await program.read('out'));
      return verifyClose(got, want, tolerance, name);
    },
  };
}

/** The largest error of sampled outputs against f64, as a fraction of what is tolerated. */
export function problemError(problem: Problem, data: ProblemData, dtype: 'f32' | 'f16', out: Float32Array): number {
  if (out.length !== count(operands(problem).out)) return Infinity;
  const { got, want, tolerance } = samples(problem, data, dtype, out);
  return errorOf(got, want, tolerance);
}

function samples(problem: Problem, data: ProblemData, dtype: 'f32' | 'f16', out: Float32Array) {
  const indices = sampleIndices(count(operands(problem).out));
  const truths = indices.map(truthOf(problem, data, dtype));
  return {
    got: indices.map((i) => out[i]),
    want: truths.map((t) => t.want),
    tolerance: truths.map((t) => t.tolerance),
  };
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
