/** A case recorded from original research code: its config, its tensors in f64, and how far outputs may be off. */
import { FormatError } from '../../../engine/errors.ts';
import type { Directory } from '../../../loading/directory.ts';
import { parsePythonJson } from '../../../loading/json.ts';
import { readHeader } from '../../../loading/safetensors.ts';
import { worstDifference } from '../torchRandnCase.ts';

/** What a case answers: the worst of `difference / allowed`, scaled to the tightest tolerance, and that tolerance. */
export interface CaseResult {
  error: number;
  tolerance: number;
}

/** Values with a shape. */
export interface Recorded {
  readonly data: Float64Array;
  readonly shape: readonly number[];
  readonly dtype: string;
}

/** The recordings state how outputs answer to one rounding of an f32 in all inputs; ten such are allowed. */
const SENSITIVITY_FACTOR = 10;

/**
 * Where less is stated: a few roundings relative to the largest value. f64 outputs answer to some hundred operations,
 * f32 ones to their storage, or as sums of terms of order 1; solutions of an ODE at a tolerance of 1e-10, to some
 * steps' errors together; and likelihoods at 1e-8, where the divergence is a central difference, to the same over more
 * steps.
 */
const ROUNDING = { F64: 1e-13, F32: 6e-8, F32_SUM: 6e-8, ODE: 1e-9, LIKELIHOOD: 6e-8 };

/** `config.json` as far as all cases have it; `config` is the family's own. */
export interface CaseFile<Config> {
  config: Config;
  'sensitivity_to_6e-8_relative_perturbation': Record<string, number>;
}

/** Inputs, draws and outputs of one case, and the comparison of every output with what was computed. */
export class OriginalCase<Config> {
  readonly config: Config;
  private readonly sensitivity: Readonly<Record<string, number>>;
  private readonly tensors: ReadonlyMap<string, Recorded>;
  private readonly compared = new Set<string>();
  private error = 0;
  private tolerance = Infinity;

  private constructor(file: CaseFile<Config>, tensors: ReadonlyMap<string, Recorded>) {
    this.config = file.config;
    this.sensitivity = file['sensitivity_to_6e-8_relative_perturbation'];
    this.tensors = tensors;
  }

  /** @throws NotFoundError, FormatError */
  static async open<Config>(dir: Directory): Promise<OriginalCase<Config>> {
    const file = parsePythonJson(await dir.text('config.json'), 'config.json') as CaseFile<Config>;
    return new OriginalCase(file, await readTensors(dir));
  }

  /** @throws FormatError if it is not there */
  tensor(key: string): Recorded {
    const found = this.tensors.get(key);
    if (found) return found;
    throw new FormatError(`parity: expected tensor ${key}, got ${[...this.tensors.keys()].join(', ')}`);
  }

  has(key: string): boolean {
    return this.tensors.has(key);
  }

  /** Item i along the first axis. */
  item(key: string, i: number): Float64Array {
    const { data, shape } = this.tensor(key);
    const size = data.length / shape[0];
    return data.subarray(i * size, (i + 1) * size);
  }

  /** Compares output `name` (without `out.`); `dtype` is what the original computed in, where it stored more. */
  compare(name: string, got: ArrayLike<number>, dtype?: keyof typeof ROUNDING): void {
    const want = this.tensor(`out.${name}`);
    const { data } = want;
    const allowed = this.allowed(name, dtype ? { ...want, dtype } : want);
    const worst = worstDifference(got, data);
    this.compared.add(`out.${name}`);
    if (worst / allowed > this.error / this.tolerance || this.tolerance === Infinity)
      [this.error, this.tolerance] = [worst, allowed];
  }

  /** Compares an output that has to be equal, as indices are. */
  same(name: string, got: ArrayLike<number>): void {
    this.compared.add(`out.${name}`);
    if (worstDifference(got, this.tensor(`out.${name}`).data) !== 0) this.error = Infinity;
  }

  /** Leaves an output out, for a reason that the caller gives. */
  ignore(name: string): void {
    this.compared.add(`out.${name}`);
  }

  /** Marks the case as wrong whatever was compared. */
  fail(): void {
    this.error = Infinity;
  }

  /** The comparison that came closest to its tolerance. An output that nobody compared counts as infinitely wrong. */
  result(): CaseResult {
    const missed = [...this.tensors.keys()].some((key) => key.startsWith('out.') && !this.compared.has(key));
    return { error: missed ? Infinity : this.error, tolerance: this.tolerance };
  }

  /** Names of outputs that were not compared. */
  missed(): string[] {
    return [...this.tensors.keys()].filter((key) => key.startsWith('out.') && !this.compared.has(key));
  }

  private allowed(name: string, { data, dtype }: Recorded): number {
    const least = dtype === 'F32' ? 0 : 1; // an f64 output near 0 is a difference of numbers of order 1
    const largest = data.reduce((most, v) => (Number.isFinite(v) ? Math.max(most, Math.abs(v)) : most), least);
    return (
      SENSITIVITY_FACTOR * Math.max(this.sensitivity[name] ?? 0, ROUNDING[dtype as keyof typeof ROUNDING] * largest)
    );
  }
}

async function readTensors(dir: Directory): Promise<Map<string, Recorded>> {
  const source = await dir.open('io.safetensors');
  try {
    const { tensors } = await readHeader(source);
    const out = new Map<string, Recorded>();
    for (const [key, { dtype, shape, start, end }] of tensors)
      out.set(key, { data: decode(dtype, (await source.read(start, end)).slice().buffer), shape, dtype });
    return out;
  } finally {
    await source.close?.();
  }
}

function decode(dtype: string, bytes: ArrayBuffer): Float64Array {
  if (dtype === 'F64') return new Float64Array(bytes);
  if (dtype === 'F32') return Float64Array.from(new Float32Array(bytes));
  if (dtype === 'I32') return Float64Array.from(new Int32Array(bytes));
  if (dtype === 'I64') return Float64Array.from(new BigInt64Array(bytes), Number);
  throw new FormatError(`parity: expected F64, F32, I32 or I64, got ${dtype}`);
}
