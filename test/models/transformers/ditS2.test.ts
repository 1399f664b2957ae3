/**
 * DiT-S/2 at its full size, on seeded random weights, against its authors' code (test/fixtures/dit_s2_full/record.py).
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { numel } from '../../../src/engine/index.ts';
import { Checkpoint, MemorySource, type RawConfig } from '../../../src/loading/index.ts';
import { weightsOf } from '../../../src/models/loadedModel.ts';
import { readDiTConfig } from '../../../src/models/transformers/ditConfig.ts';
import { ditKeys } from '../../../src/models/transformers/ditKeys.ts';
import { DiT, ditDefinition } from '../../../src/models/transformers/ditModel.ts';
import { gridPositions } from '../../../src/models/transformers/positions.ts';
import { expectClose, NETWORK_NORM } from '../../support/close.ts';
import { adapters, isFullRun } from '../../support/gpu.ts';
import { uniform } from '../../support/random.ts';
import { openDevice } from '../../support/runGraph.ts';
import { fixture } from '../fixtures.ts';

const WIDTH = 384;
const raw = JSON.parse(readFileSync(new URL('../configs/dit-s-2-original.json', import.meta.url), 'utf8')) as RawConfig;

/** Uniform numbers in ±half. */
function values(seed: number, n: number, half: number): Float32Array {
  const u = uniform(seed);
  return Float32Array.from({ length: n }, () => (2 * u() - 1) * half);
}

function spread(name: string, shape: readonly number[]): number {
  if (name.endsWith('bias')) return 0.1;
  return name.includes('embedding_table') ? 0.5 : Math.sqrt(3 / numel(shape.slice(1)));
}

/** The authors' names: the renaming turned round, for the keys of this network. */
const AUTHORS: readonly (readonly [RegExp, string])[] = [
  [/^pos_embed\.pos_embed$/, 'pos_embed'],
  [/^pos_embed\.proj\./, 'x_embedder.proj.'],
  [/^transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_1\./, 't_embedder.mlp.0.'],
  [/^transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_2\./, 't_embedder.mlp.2.'],
  [/^transformer_blocks\.0\.norm1\.emb\.class_embedder\./, 'y_embedder.'],
  [/^transformer_blocks\.(\d+)\.attn1\.to_qkv\./, 'blocks.$1.attn.qkv.'],
  [/^transformer_blocks\.(\d+)\.attn1\.to_out\.0\./, 'blocks.$1.attn.proj.'],
  [/^transformer_blocks\.(\d+)\.ff\.net\.0\.proj\./, 'blocks.$1.mlp.fc1.'],
  [/^transformer_blocks\.(\d+)\.ff\.net\.2\./, 'blocks.$1.mlp.fc2.'],
  [/^transformer_blocks\.(\d+)\.norm1\.linear\./, 'blocks.$1.adaLN_modulation.1.'],
  [/^proj_out_1\./, 'final_layer.adaLN_modulation.1.'],
  [/^proj_out_2\./, 'final_layer.linear.'],
];

function authorsName(key: string): string {
  const [pattern, name] = AUTHORS.find(([p]) => p.test(key))!;
  return key.replace(pattern, name);
}

/** A file with these tensors, without a second copy of any of them. */
function safetensors(tensors: ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>): Uint8Array {
  const header: Record<string, object> = {};
  let at = 0;
  for (const [name, { shape, data }] of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, (at += 4 * data.length)] };
  }
  const text = JSON.stringify(header);
  const json = new TextEncoder().encode(text.padEnd(8 * Math.ceil(text.length / 8)));
  const file = new Uint8Array(8 + json.length + at);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  let into = 8 + json.length;
  for (const { data } of tensors.values()) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), into);
    into += data.byteLength;
  }
  return file;
}

function randomCheckpoint(): Promise<Checkpoint> {
  const wanted = new Map(
    [...weightsOf(ditDefinition, readDiTConfig(raw))].map(([key, shape]) => [authorsName(key), shape] as const),
  );
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  const names = [...wanted.keys()].filter((name) => name !== 'pos_embed').sort();
  names.forEach((name, i) => {
    const shape = wanted.get(name)!;
    tensors.set(name, { shape, data: values(i + 1, numel(shape), spread(name, shape)) });
  });
  const grid = gridPositions(WIDTH, { rows: 16, columns: 16, base: 16 });
  tensors.set('pos_embed', { shape: wanted.get('pos_embed')!, data: grid });
  return Checkpoint.open(new MemorySource(safetensors(tensors), 'DiT-S/2'));
}

test('names go there and back', () => {
  const keys = [...weightsOf(ditDefinition, readDiTConfig(raw)).keys()];
  expect(keys.map(authorsName).map(ditKeys)).toEqual(keys);
});

// A minute and 130 MB of weights: for the full run.
describe.runIf(isFullRun).each(adapters())('DiT-S/2 on %s', (adapter) => {
  test('agrees with PyTorch to 1e-4 of the range', async () => {
    const checkpoint = await randomCheckpoint();
    const model = await DiT.load(await openDevice(adapter), { config: raw, checkpoint });
    const recorded = await Checkpoint.open(await fixture('dit_s2_full').open('io.safetensors'));
    const want = await recorded.read('out.model');
    const out = await model.forward({
      sample: { data: values(1001, 2 * 4 * 32 * 32, 2), shape: [2, 4, 32, 32] },
      timestep: [57, 930],
      classLabels: [207, model.nullClass!],
    });
    const got = await out.read();
    const [low, high] = [Math.min(...want), Math.max(...want)];
    const worst = expectClose(got, want, NETWORK_NORM * (high - low), 'DiT-S/2');
    if (process.env.SHOW) console.log(adapter, 'worst', worst, 'range', high - low);
    model.dispose();
    await recorded.close();
  }, 600_000);
});
