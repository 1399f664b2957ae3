/** TensorFlow.js on WebGPU as a peer for matmul, convolution and attention. Given the module with its backend ready. */
import { problemData, type Problem, type ProblemData } from '../../kernels/problem.ts';
import { PeerError, type Engine } from '../protocol.ts';
import { TRANSPOSED } from './tensors.ts';

interface Tensor {
  data(): Promise<Float32Array>;
  dispose(): void;
  readonly shape: readonly number[];
}
/** As much of the package's types as is used. */
export interface Tfjs {
  enableProdMode(): void;
  tensor(values: Float32Array, shape: readonly number[]): Tensor;
  tidy<T>(work: () => T): T;
  matMul(a: Tensor, b: Tensor, transposeA?: boolean, transposeB?: boolean): Tensor;
  mul(a: Tensor, b: number): Tensor;
  reshape(a: Tensor, shape: readonly number[]): Tensor;
  transpose(a: Tensor, perm: readonly number[]): Tensor;
  slice(a: Tensor, begin: readonly number[], size: readonly number[]): Tensor;
  softmax(a: Tensor): Tensor;
  fused: {
    matMul(options: object): Tensor;
    conv2d(options: object): Tensor;
  };
}

export function tfjsEngine(tf: Tfjs, version: string): Engine {
  tf.enableProdMode();
  return {
    async open({ work, variant, dtype }) {
      if (!('problem' in work) || dtype !== 'f32') throw new PeerError('tfjs: expected a problem in f32');
      const compute = prepare(tf, work.problem, problemData(work.problem, dtype), variant);
      const last = async (runs: number) => {
        let result = compute();
        for (let i = 1; i < runs; i++) {
          result.dispose();
          result = compute();
        }
        // Reading one value waits for all that was submitted.
        const one = tf.slice(
          result,
          result.shape.map(() => 0),
          result.shape.map(() => 1),
        );
        await one.data();
        one.dispose();
        result.dispose();
      };
      const timed = async (runs: number) => {
        const start = performance.now();
        await last(runs);
        return performance.now() - start;
      };
      return {
        version,
        settings: [
          'production mode',
          ...(work.problem.op === 'attention' ? [] : ['fused bias']),
          'inputs and result on the device',
          ...(variant === TRANSPOSED ? [TRANSPOSED] : []),
        ].join('; '),
        pipelined: true,
        first: () => timed(1),
        run: timed,
        async output() {
          const result = compute();
          const values = await result.data();
          result.dispose();
          return values;
        },
      };
    },
  };
}

function prepare(tf: Tfjs, p: Problem, data: ProblemData, variant: string): () => Tensor {
  if (p.op === 'matmul') {
    const a = tf.tensor(data.x, [p.M, p.K]);
    const given = tf.tensor(data.w, [p.N, p.K]);
    const transposeB = variant !== TRANSPOSED;
    const b = transposeB ? given : tf.transpose(given, [1, 0]);
    const bias = tf.tensor(data.b, [p.N]);
    return () => tf.fused.matMul({ a, b, bias, transposeB });
  }
  if (p.op === 'conv2d') {
    const x = tf.tensor(data.x, [p.B, p.H, p.W, p.I]);
    const filter = tf.tidy(() => tf.transpose(tf.tensor(data.w, [p.O, p.I, p.R, p.S]), [2, 3, 1, 0]));
    const bias = tf.tensor(data.b, [p.O]);
    const pad = [
      [0, 0],
      [p.top, p.bottom],
      [p.left, p.right],
      [0, 0],
    ];
    return () => tf.fused.conv2d({ x, filter, strides: p.stride, pad, bias });
  }
  if (p.op === 'attention') {
    const { B, T, S, heads, d } = p;
    const [q, k, v] = [
      tf.tensor(data.q, [B, T, heads, d]),
      tf.tensor(data.k, [B, S, heads, d]),
      tf.tensor(data.v, [B, S, heads, d]),
    ];
    const byHead = (a: Tensor) => tf.transpose(a, [0, 2, 1, 3]);
    return () =>
      tf.tidy(() => {
        const scores = tf.matMul(byHead(q), byHead(k), false, true);
        const weights = tf.softmax(tf.mul(scores, 1 / Math.sqrt(d)));
        return tf.reshape(byHead(tf.matMul(weights, byHead(v))), [B, T, heads * d]);
      });
  }
  throw new PeerError(`tfjs: expected matmul, conv2d or attention, got ${p.op}`);
}
