/** Runs every case of a directory of recorded inputs and outputs against this library. */
import { writeFile } from 'node:fs/promises';
import { Device } from '../../engine/index.ts';
import { InvalidArgumentError, throwIfAborted, UnsupportedError } from '../../engine/errors.ts';
import type { Directory } from '../../loading/directory.ts';
import { parsePythonJson } from '../../loading/json.ts';
import { openGpu } from '../adapter.ts';
import { pathDirectory } from '../fileSource.ts';
import { HINT_FACTOR, listCases, matchesGlob, type ParityCase } from './cases.ts';
import { runDiTCase } from './ditCase.ts';
import { runFluxCase } from './fluxCase.ts';
import { runOriginalCase } from './original/index.ts';
import { runVaeTinyCase, runVQCase } from './latentCase.ts';
import { runSchedulerCase } from './schedulerCase.ts';
import { runClipTextCase, runClipTextProjectionCase, runT5Case } from './textCase.ts';
import { runPipelineCase } from './pipelineCase.ts';
import { runPriorCase } from './priorCase.ts';
import { runSD3Case } from './sd3Case.ts';
import { runTorchRandnCase } from './torchRandnCase.ts';
import { runUNet2DCase } from './unet2dCase.ts';
import { runControlNetCase, runUNetConditionCase } from './unetConditionCase.ts';
import { runVaeKlCase } from './vaeKlCase.ts';

export interface ParityResult {
  case: string;
  kind: string;
  status: 'pass' | 'fail' | 'unsupported';
  /** Largest absolute difference; null where none could be measured. */
  error: number | null;
  tolerance: number | null;
  adapter: string;
}

export interface ParityOptions {
  /** Names of cases to run, `*` and `?` as in a shell, alternatives separated by commas. */
  only?: string;
  /** As {@link openGpu} takes it. */
  adapter?: string;
  /** An open device to use; it stays open. By default one is opened on `adapter`. */
  device?: Device;
  /** Storage of activations and weights; the tolerances are those of f32. */
  dtype?: 'f32' | 'f16';
  /** File for the results, an array of {@link ParityResult}. */
  json?: string;
  /** Receives each line of the report; default `console.log`. */
  log?: (line: string) => void;
  /** Receives why a case failed or is not supported; default `console.error`. */
  warn?: (line: string) => void;
  signal?: AbortSignal;
}

export interface ParityReport {
  results: ParityResult[];
  passed: number;
  /** Failed or unsupported. */
  failed: number;
}

/**
 * Runs one case on a device.
 * @param weights the folder of config and weights, which may be another case's.
 * @returns the largest absolute difference of all recorded outputs.
 */
export type ModelCase = (
  device: Device,
  folder: Directory,
  dtype: 'f32' | 'f16',
  weights: Directory,
) => Promise<number>;

/** Kinds that run on a device; a kind that is not here is unsupported. */
const MODELS: Readonly<Record<string, ModelCase>> = {
  dit: runDiTCase,
  flux: runFluxCase,
  prior: runPriorCase,
  sd3: runSD3Case,
  unet2d: runUNet2DCase,
  unet_cond: runUNetConditionCase,
  controlnet: runControlNetCase,
  vae_kl: runVaeKlCase,
  vae_tiny: runVaeTinyCase,
  vq: runVQCase,
  text_clip: runClipTextCase,
  text_clipp: runClipTextProjectionCase,
  text_t5: runT5Case,
};

/** Kinds that are computed on the host. */
const HOST: Readonly<Record<string, (json: unknown) => Promise<{ error: number; tolerance: number }>>> = {
  scheduler: runSchedulerCase,
  torch_randn: runTorchRandnCase,
};

/**
 * Runs the cases of `path` and prints `pass|fail|unsupported CASE worst-error tolerance` for each, then the sum.
 * @param path a folder with `manifest.json`.
 * @throws NotFoundError, FormatError for a folder that holds no cases; InvalidArgumentError where `only` matches none;
 * AdapterError where a case needs an adapter and there is none; AbortedError.
 */
export async function runParity(path: string, options: ParityOptions = {}): Promise<ParityReport> {
  const { only = '*', log = console.log, warn = console.error, dtype = 'f32' } = options;
  const dir = pathDirectory(path);
  const all = await listCases(dir);
  const chosen = all.filter((c) => matchesGlob(only, c.name));
  if (chosen.length === 0) {
    const some = all.slice(0, 3).map((c) => c.name);
    throw new InvalidArgumentError(
      `parity: expected a name like ${some.join(', ')} …, got ${only}, which matches none`,
    );
  }
  const device = new DeviceOnDemand(options);
  const results: ParityResult[] = [];
  try {
    for (const c of chosen) {
      throwIfAborted(options.signal, 'parity');
      const result = { ...(await runCase(c, dir, device, dtype, warn)), adapter: device.adapter };
      results.push(result);
      log(`${result.status} ${result.case} ${result.error ?? '-'} ${result.tolerance ?? '-'}`);
    }
  } finally {
    device.close();
  }
  if (options.json) await writeFile(options.json, `${JSON.stringify(results, null, 2)}\n`);
  const passed = results.filter((r) => r.status === 'pass').length;
  const failed = results.length - passed;
  log(`${passed} passed, ${failed} failed`);
  return { results, passed, failed };
}

/** The device that the caller gave, or one that is opened when a case first asks for it. */
class DeviceOnDemand {
  /** What results say they ran on. */
  adapter: string;
  private own: Device | undefined;

  constructor(private readonly options: ParityOptions) {
    this.adapter = options.adapter ?? 'host';
  }

  /** @throws AdapterError */
  async get(): Promise<Device> {
    const given = this.options.device ?? this.own;
    if (given) return given;
    const { gpu, name } = await openGpu({ adapter: this.options.adapter });
    this.adapter = name;
    return (this.own = await Device.open({ gpu }));
  }

  close(): void {
    this.own?.dispose();
  }
}

async function runCase(
  c: ParityCase,
  dir: Directory,
  device: DeviceOnDemand,
  dtype: 'f32' | 'f16',
  warn: (line: string) => void,
): Promise<Omit<ParityResult, 'adapter'>> {
  const named = { case: c.name, kind: c.kind };
  const hinted = c.hint === undefined ? null : HINT_FACTOR * c.hint;
  try {
    const { error, tolerance } = await measure(c, dir, device, dtype);
    return {
      ...named,
      status: error <= tolerance ? 'pass' : 'fail',
      error: Number.isFinite(error) ? error : null,
      tolerance,
    };
  } catch (error) {
    const unsupported = error instanceof UnsupportedError;
    warn(`${c.name}: ${error instanceof Error ? error.message : String(error)}`);
    return { ...named, status: unsupported ? 'unsupported' : 'fail', error: null, tolerance: hinted };
  }
}

async function measure(
  c: ParityCase,
  dir: Directory,
  device: DeviceOnDemand,
  dtype: 'f32' | 'f16',
): Promise<{ error: number; tolerance: number }> {
  const host = Object.hasOwn(HOST, c.kind) ? HOST[c.kind] : undefined;
  if (host) return host(parsePythonJson(await dir.text(c.path), `${dir.name}/${c.path}`));
  if (c.kind === 'original')
    return runOriginalCase(dir.folder(c.path), { root: dir, name: c.path, device: () => device.get(), dtype });
  if (c.kind === 'pipeline') return runPipelineCase(await device.get(), dir, c.path, dtype);
  const model = Object.hasOwn(MODELS, c.kind) ? MODELS[c.kind] : undefined;
  if (!model) throw new UnsupportedError(`kind ${c.kind} is not built yet`);
  if (c.hint === undefined) throw new UnsupportedError('the manifest gives no tol_abs_hint to judge by');
  const error = await model(await device.get(), dir.folder(c.path), dtype, dir.folder(c.weights ?? c.path));
  return { error, tolerance: HINT_FACTOR * c.hint };
}
