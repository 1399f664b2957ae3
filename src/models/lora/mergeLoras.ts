/** Adapters of low rank merged into a model's weights on their way to the GPU, and taken off again. */
import { formatShape, InvalidArgumentError, numel, WeightError, type WeightChange } from '../../engine/index.ts';
import { ldmNames } from './ldmNames.ts';
import type { Lora, LoraModule, LoraPart } from './loraFile.ts';
import { transformerNames, type LoraPlace } from './originalNames.ts';

/** A model whose weights can be changed; `LoadedModel` is one. */
export interface LoraTarget {
  readonly weights: ReadonlyMap<string, readonly number[]>;
  changeWeights(change: WeightChange | undefined, options?: { signal?: AbortSignal }): Promise<void>;
}

/** An adapter and how strongly it acts. */
export interface LoraUse {
  lora: Lora;
  /** Factor on what it adds; default 1. */
  weight?: number;
}

/**
 * Makes a model's weights those of its file plus what the adapters add, W + Σ weight·(α/r)·B·A, whatever was merged
 * before; no adapters at all give back the file's weights, bit by bit. The adapters' files are read meanwhile, and
 * later where a call asks for a weight in another form.
 * @param part the model's place in its pipeline.
 * @throws WeightError naming the keys for which the model has no weight, or one of another shape; then nothing changes.
 * As {@link LoadedModel.changeWeights} otherwise.
 */
export async function setLoras(
  model: LoraTarget,
  part: LoraPart,
  uses: readonly LoraUse[],
  options: { signal?: AbortSignal } = {},
): Promise<void> {
  await model.changeWeights(uses.length === 0 ? undefined : loraChange(model.weights, part, uses), options);
}

interface Delta {
  lora: Lora;
  module: LoraModule;
  weight: number;
  place: LoraPlace;
}

/** What the adapters do to each weight. @throws as {@link setLoras} */
export function loraChange(
  weights: ReadonlyMap<string, readonly number[]>,
  part: LoraPart,
  uses: readonly LoraUse[],
): WeightChange {
  const deltas = new Map<string, Delta[]>();
  const add = (key: string, delta: Delta) => deltas.set(key, [...(deltas.get(key) ?? []), delta]);
  const placesOf = placesByLayer(weights, part);
  for (const { lora, weight = 1 } of uses) {
    if (!Number.isFinite(weight)) {
      throw new InvalidArgumentError(`LoRA ${lora.name}: expected a finite weight, got ${weight}`);
    }
    const problems: string[] = [];
    const texts: string[] = [];
    for (const module of lora.layers(part)) {
      const places = placesOf.get(module.name) ?? [];
      const wrong = places.map((place) => misfit(lora, module, place, weights.get(place.key)!));
      const why = places.length === 0 ? 'no such weight' : wrong.find((text) => text !== undefined);
      if (why) texts.push(`${module.down} (${why})`);
      if (why) problems.push(module.down, module.up);
      else for (const place of places) add(place.key, { lora, module, weight, place });
    }
    if (lora.layers(part).length === 0) texts.push(`layers of ${lora.parts.join(', ')} only`);
    if (texts.length === 0) continue;
    const more = texts.length > 5 ? ` and ${texts.length - 5} more` : '';
    throw new WeightError(
      `LoRA ${lora.name}: expected layers of this ${part}, got ${texts.slice(0, 5).join(', ')}${more}; ` +
        'it was made for another model',
      problems,
    );
  }
  return {
    keys: new Set(deltas.keys()),
    apply: (key, data, rows) => addDeltas(data, weights.get(key)!, rows, deltas.get(key)!),
  };
}

/** Places of weights by each name that files give their layers. */
function placesByLayer(weights: ReadonlyMap<string, readonly number[]>, part: LoraPart): Map<string, LoraPlace[]> {
  const keys = [...weights.keys()].filter((key) => key.endsWith('.weight'));
  const path = (key: string) => key.slice(0, -'.weight'.length);
  const names = new Map<string, LoraPlace[]>();
  const whole = (key: string): LoraPlace[] => [{ key, first: 0, of: weights.get(key)![0] }];
  const ldm = part === 'unet' ? ldmNames(keys.map(path)) : () => undefined;
  for (const key of keys) {
    const original = ldm(path(key));
    if (original !== undefined) names.set(original.replaceAll('.', '_'), whole(key));
  }
  const original = part === 'transformer' ? transformerNames(weights) : [];
  for (const [name, places] of original) names.set(name.replaceAll('.', '_'), places).set(name, places);
  for (const key of keys) names.set(path(key).replaceAll('.', '_'), whole(key)).set(path(key), whole(key));
  return names;
}

/** Why a pair does not fit a weight [O,I,…]; undefined where it does. */
function misfit(
  lora: Lora,
  { down, up, mid }: LoraModule,
  { of: O }: LoraPlace,
  shape: readonly number[],
): string | undefined {
  const [A, B] = [lora.shape(down), lora.shape(up)];
  const rank = A[0];
  const I = shape.slice(1);
  const taps = numel(I.slice(1));
  const core = mid === undefined ? undefined : lora.shape(mid);
  const fits = core
    ? numel(A) === rank * I[0] && numel(B) === O * core[0] && numel(core) === core[0] * rank * taps
    : numel(A) === rank * numel(I) && numel(B) === O * rank;
  if (fits && B[0] === O) return undefined;
  return `${formatShape(B)}·${formatShape(A)} for ${formatShape(shape)}`;
}

/** Multiplications between two breaths: about ten milliseconds. */
const TURN = 2 ** 23;

/** Adds all that is due to one weight; every sum is rounded once. */
async function addDeltas(
  data: Float32Array,
  [O, ...I]: readonly number[],
  rows: readonly [number, number] | undefined,
  deltas: readonly Delta[],
): Promise<void> {
  const [first, last] = rows ?? [0, O];
  const K = numel(I);
  const pairs = [];
  for (const { lora, module, weight, place } of deltas) {
    const [A, B] = [await lora.read(module.down), await lora.read(module.up)];
    const rank = lora.shape(module.down)[0];
    const alpha = module.alphaKey === undefined ? undefined : (await lora.read(module.alphaKey))[0];
    const scale = weight * (alpha === undefined ? (module.scale ?? 1) : alpha / rank);
    const core = module.mid && { values: await lora.read(module.mid), shape: lora.shape(module.mid) };
    pairs.push({ A: core ? withCore(A, core, rank, I[0]) : A, B, rank: core ? core.shape[0] : rank, scale, place });
  }
  const sum = new Float64Array(K);
  const rowsPerTurn = Math.ceil(TURN / (K * pairs.reduce((n, { rank }) => n + rank, 0)));
  for (let o = first; o < last; o++) {
    // Large weights take a second: a page must keep its frames meanwhile.
    if (o > first && (o - first) % rowsPerTurn === 0) await new Promise((resolve) => setTimeout(resolve));
    sum.fill(0);
    for (const { A, B, rank, scale, place } of pairs) {
      const row = place.first + (place.swapped ? (o + O / 2) % O : o);
      for (let r = 0; r < rank; r++) {
        const b = scale * B[row * rank + r];
        const at = r * K;
        for (let k = 0; k < K; k++) sum[k] += b * A[at + k];
      }
    }
    const row = (o - first) * K;
    for (let k = 0; k < K; k++) data[row + k] += sum[k];
  }
}

/** Tucker's core between the matrices: core [q,r,k,k], A [r,I] → [q,I,k,k]. */
function withCore(
  A: Float32Array,
  { values, shape }: { values: Float32Array; shape: readonly number[] },
  rank: number,
  I: number,
): Float64Array {
  const q = shape[0];
  const taps = values.length / (q * rank);
  const out = new Float64Array(q * I * taps);
  for (let a = 0; a < q; a++) {
    for (let r = 0; r < rank; r++) {
      for (let i = 0; i < I; i++) {
        for (let t = 0; t < taps; t++) out[(a * I + i) * taps + t] += values[(a * rank + r) * taps + t] * A[r * I + i];
      }
    }
  }
  return out;
}
