/** Networks whose weights are drawn in place, the same ones as where their outputs were recorded. */
import { fileURLToPath } from 'node:url';
import { numel } from '../../../src/engine/index.ts';
import { Checkpoint, MemorySource, type Directory, type RawConfig } from '../../../src/loading/index.ts';
import type { OpenedModel } from '../../../src/models/index.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { normals } from '../../support/random.ts';

/** Of the first key; the next ones follow. */
const SEED = 100_000;
/** Of weights times the root of what they sum over, and of biases and norm weights. */
const [SPREAD, AROUND] = [0.8, 0.2];

/** A case of `test/fixtures/adm`. */
export const recordedOptions = (name: string): Directory =>
  pathDirectory(fileURLToPath(new URL('../../fixtures/adm', import.meta.url))).folder(name);

/** A config with weights: norm weights around 1, biases around 0, the others so that activations keep their size. */
export async function generated(
  config: RawConfig,
  weights: ReadonlyMap<string, readonly number[]>,
): Promise<OpenedModel> {
  const header: Record<string, object> = {};
  const parts: Float32Array[] = [];
  let at = 0;
  [...weights.keys()].sort().forEach((key, i) => {
    const shape = weights.get(key)!;
    const drawn = normals(SEED + i, numel(shape));
    const spread = shape.length === 1 ? AROUND : SPREAD / Math.sqrt(numel(shape.slice(1)));
    const mean = shape.length === 1 && key.endsWith('weight') ? 1 : 0;
    parts.push(drawn.map((v) => mean + spread * v));
    header[key] = { dtype: 'F32', shape, data_offsets: [at, (at += 4 * drawn.length)] };
  });
  const json = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + at);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  let into = 8 + json.length;
  for (const part of parts) {
    file.set(new Uint8Array(part.buffer), into);
    into += part.byteLength;
  }
  return { config, checkpoint: await Checkpoint.open(new MemorySource(file, 'generated')) };
}
