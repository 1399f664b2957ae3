/**
 * What published models give, as PyTorch computed it on a CPU in f32 with the same seeded weights (peers/export.py).
 */
import type { Directory } from '../../src/loading/index.ts';
import { relativeNorm } from '../verify.ts';

/** At most so many values of an output are kept. */
const KEPT = 16384;

/** Every so many values of an output are kept: odd, so that no column or channel is favoured. */
export function strideOf(n: number): number {
  const stride = Math.ceil(n / KEPT);
  return stride % 2 === 1 ? stride : stride + 1;
}

/** @throws NotFoundError for a model that has none */
export async function readTruth(truths: Directory, name: string): Promise<Float32Array> {
  const file = await truths.open(`${name}.bin`);
  try {
    const bytes = await file.read(0, await file.size());
    return new Float32Array(Uint8Array.from(bytes).buffer);
  } finally {
    await file.close?.();
  }
}

/** ‖error‖ / ‖truth‖ of an output over its kept values; infinite where it is not finite or of another size. */
export function truthError(out: Float32Array, truth: Float32Array): number {
  const stride = strideOf(out.length);
  const kept = Math.ceil(out.length / stride);
  return relativeNorm(
    Float32Array.from({ length: kept }, (_, i) => out[i * stride]),
    truth,
  );
}
