/** What a directory of recorded cases holds. Two layouts: a manifest of objects by kind, or a list of originals. */
import { FormatError } from '../../engine/errors.ts';
import type { Directory } from '../../loading/directory.ts';

/** One recorded case. */
export interface ParityCase {
  readonly name: string;
  /** `unet2d`, `vae_kl` …; `scheduler`, `pipeline`, `torch_randn`, `original` for what the manifest lists elsewhere. */
  readonly kind: string;
  /** Folder or file of the case, relative to the directory. */
  readonly path: string;
  /** Folder of its config and weights, where that is another case's. */
  readonly weights?: string;
  /** Largest absolute error that the recording suggests for f32; undefined where it does not say. */
  readonly hint: number | undefined;
}

/** A hint is the reference's own response to noise in its weights; the promise is at most three times that. */
export const HINT_FACTOR = 3;

const MANIFEST = 'manifest.json';
const TORCH_RANDN = 'torch_randn.json';

/** All cases, in the order of the manifest. @throws NotFoundError, FormatError */
export async function listCases(dir: Directory): Promise<ParityCase[]> {
  const manifest = asObject(await dir.json(MANIFEST), 'the manifest', dir);
  if (Array.isArray(manifest.cases)) return manifest.cases.map((entry) => original(entry, dir));
  const cases: ParityCase[] = [];
  for (const [name, entry] of entries(manifest.cases, 'cases', dir)) {
    const kind = asString(entry.kind, `kind of ${name}`, dir);
    const weights = typeof entry.weights_from === 'string' ? entry.weights_from : undefined;
    cases.push({ name, kind, path: name, weights, hint: hintOf(entry) });
  }
  for (const [name, entry] of entries(manifest.pipelines, 'pipelines', dir)) {
    cases.push({ name, kind: 'pipeline', path: name, hint: hintOf(entry) });
  }
  for (const [name, entry] of entries(manifest.schedulers, 'schedulers', dir)) {
    const path = asString(entry.file, `file of ${name}`, dir);
    cases.push({ name, kind: 'scheduler', path, hint: hintOf(entry) });
  }
  if (await dir.has(TORCH_RANDN)) {
    cases.push({ name: 'torch_randn', kind: 'torch_randn', path: TORCH_RANDN, hint: undefined });
  }
  return cases;
}

/** Whether a case's name is chosen: `*` stands for anything, `?` for one character, a comma separates alternatives. */
export function matchesGlob(glob: string, name: string): boolean {
  return glob.split(',').some((part) => {
    const literal = part.trim().replace(/[.+^${}()|[\]\\]/g, '\\$&');
    return new RegExp(`^${literal.replace(/\*/g, '.*').replace(/\?/g, '.')}$`).test(name);
  });
}

function original(entry: unknown, dir: Directory): ParityCase {
  const name = asString(asObject(entry, 'a case', dir).case, 'the name of a case', dir);
  return { name, kind: 'original', path: name, hint: undefined };
}

function entries(value: unknown, what: string, dir: Directory): [string, Record<string, unknown>][] {
  if (value === undefined) return [];
  return Object.entries(asObject(value, what, dir)).map(([name, entry]) => [name, asObject(entry, name, dir)]);
}

function hintOf(entry: Record<string, unknown>): number | undefined {
  return typeof entry.tol_abs_hint === 'number' ? entry.tol_abs_hint : undefined;
}

function asObject(value: unknown, what: string, dir: Directory): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new FormatError(
    `parity: expected ${what} in ${dir.name}/${MANIFEST} to be an object; is it a parity directory?`,
  );
}

function asString(value: unknown, what: string, dir: Directory): string {
  if (typeof value === 'string') return value;
  throw new FormatError(
    `parity: expected ${what} in ${dir.name}/${MANIFEST} to be a string; is it a parity directory?`,
  );
}
