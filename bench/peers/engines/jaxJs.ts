/** jax-js on WebGPU as a peer for matmul, convolution and attention. Given the module with its device chosen. */
import { problemData, type Problem, type ProblemData } from '../../kernels/problem.ts';
import { channelsFirst, channelsLast, transpose } from '../onnx/problems.ts';
import { PeerError, type Engine } from '../protocol.ts';
import { TRANSPOSED } from './tensors.ts';

/** Arrays are used up by what is computed from them; `ref` keeps one for another use. */
interface JaxArray {
  readonly ref: JaxArray;
  add(other: JaxArray): JaxArray;
  reshape(shape: readonly number[]): JaxArray;
  transpose(): JaxArray;
  blockUntilReady(): Promise<JaxArray>;
  data(): Promise<Float32Array>;
  dispose(): void;
}
/** As much of the package's types as is used. */
export interface JaxJs {
  jit(work: (...args: JaxArray[]) => JaxArray): (...args: JaxArray[]) => JaxArray;
  numpy: { array(values: Float32Array): JaxArray; matmul(a: JaxArray, b: JaxArray): JaxArray };
  nn: { dotProductAttention(q: JaxArray, k: JaxArray, v: JaxArray): JaxArray };
  lax: { convGeneralDilated(x: JaxArray, w: JaxArray, strides: number[], padding: [number, number][]): JaxArray };
}

export function jaxJsEngine(jax: JaxJs, version: string): Engine {
  return {
    async open({ work, variant, dtype }) {
      if (!('problem' in work) || dtype !== 'f32') throw new PeerError('jax-js: expected a problem in f32');
      const { args, compute, output } = prepare(jax, work.problem, problemData(work.problem, dtype), variant);
      const compiled = jax.jit(compute);
      const submit = () => compiled(...args.map((a) => a.ref));
      const timed = async (runs: number) => {
        const start = performance.now();
        let result = submit();
        for (let i = 1; i < runs; i++) {
          result.dispose();
          result = submit();
        }
        (await result.blockUntilReady()).dispose();
        return performance.now() - start;
      };
      return {
        version,
        settings: ['jit', 'inputs and result on the device', ...(variant === TRANSPOSED ? [TRANSPOSED] : [])].join(
          '; ',
        ),
        pipelined: true,
        first: () => timed(1),
        run: timed,
        output: async () => output(await submit().data()),
      };
    },
  };
}

interface Prepared {
  args: JaxArray[];
  compute(...args: JaxArray[]): JaxArray;
  output(values: Float32Array): Float32Array;
}

function prepare(jax: JaxJs, p: Problem, data: ProblemData, variant: string): Prepared {
  const array = (values: Float32Array, ...shape: number[]) => jax.numpy.array(values).reshape(shape);
  const output = (values: Float32Array) => values;
  if (p.op === 'matmul') {
    const [x, b] = [array(data.x, p.M, p.K), array(data.b, 1, p.N)];
    if (variant === TRANSPOSED) {
      const args = [x, array(transpose(data.w, 1, p.N, p.K), p.K, p.N), b];
      return { args, compute: (x, w, b) => jax.numpy.matmul(x, w).add(b), output };
    }
    const args = [x, array(data.w, p.N, p.K), b];
    return { args, compute: (x, w, b) => jax.numpy.matmul(x, w.transpose()).add(b), output };
  }
  if (p.op === 'conv2d') {
    const { stride, top, bottom, left, right } = p;
    const OH = Math.floor((p.H + top + bottom - p.R) / stride) + 1;
    const OW = Math.floor((p.W + left + right - p.S) / stride) + 1;
    const padding: [number, number][] = [
      [top, bottom],
      [left, right],
    ];
    return {
      args: [
        array(channelsFirst(data.x, p.B, p.H * p.W, p.I), p.B, p.I, p.H, p.W),
        array(data.w, p.O, p.I, p.R, p.S),
        array(data.b, 1, p.O, 1, 1),
      ],
      compute: (x, w, b) => jax.lax.convGeneralDilated(x, w, [stride, stride], padding).add(b),
      output: (values) => channelsLast(values, p.B, OH * OW, p.O),
    };
  }
  if (p.op === 'attention') {
    const { B, T, S, heads, d } = p;
    return {
      args: [array(data.q, B, T, heads, d), array(data.k, B, S, heads, d), array(data.v, B, S, heads, d)],
      compute: (q, k, v) => jax.nn.dotProductAttention(q, k, v).reshape([B, T, heads * d]),
      output,
    };
  }
  throw new PeerError(`jax-js: expected matmul, conv2d or attention, got ${p.op}`);
}
