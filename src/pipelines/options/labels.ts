/** Class labels of a pipeline folder, and what users write for them. */
import { ConfigError, InvalidArgumentError } from '../../engine/index.ts';

/** An index, or a name (upper or lower case). */
export type ClassLabel = number | string;

/**
 * `id2label` and `null_label` of a `model_index.json`.
 * @throws ConfigError when they are missing or not a map of names.
 */
export function readLabels(options: Readonly<Record<string, unknown>>, where: string) {
  const { id2label, null_label: nullLabel } = options;
  const entries = typeof id2label === 'object' && id2label !== null ? Object.entries(id2label) : [];
  if (!entries.length || !entries.every(([id, name]) => /^\d+$/.test(id) && typeof name === 'string')) {
    throw new ConfigError(`${where}: expected id2label to map class numbers to names`, 'id2label');
  }
  if (typeof nullLabel !== 'number' || !Number.isInteger(nullLabel)) {
    throw new ConfigError(
      `${where}: expected null_label to be the number of the null class, got ${nullLabel}`,
      'null_label',
    );
  }
  return { labels: Object.fromEntries(entries) as Record<number, string>, nullLabel };
}

/**
 * Class numbers, each repeated `times`.
 * @throws InvalidArgumentError for a label that is not there; the message lists those that are.
 */
export function resolveClasses(
  given: ClassLabel | readonly ClassLabel[],
  labels: Readonly<Record<number, string>>,
  times: number,
): number[] {
  if (!Number.isInteger(times) || times < 1) {
    throw new InvalidArgumentError(`generate: expected numImagesPerClass to be an integer ≥ 1, got ${times}`);
  }
  const list = typeof given === 'object' ? given : [given];
  if (list.length === 0) throw new InvalidArgumentError('generate: expected at least one class label, got none');
  return list.flatMap((label) => Array<number>(times).fill(resolveClass(label, labels)));
}

/**
 * The number of a class. @throws InvalidArgumentError for a label that is not there; the message lists those that are.
 */
export function resolveClass(label: ClassLabel, labels: Readonly<Record<number, string>>): number {
  if (typeof label === 'number' && labels[label] !== undefined) return label;
  const wanted = String(label).toLowerCase();
  const found = Object.entries(labels).find(([id, name]) => name.toLowerCase() === wanted || id === wanted);
  if (found) return Number(found[0]);
  const known = Object.entries(labels).map(([id, name]) => `${id} ${name}`);
  throw new InvalidArgumentError(`generate: expected a class of ${known.join(', ')}; got ${JSON.stringify(label)}`);
}

/**
 * The number of a class of a network that knows `count`, of which `labels` names some or none.
 * @throws InvalidArgumentError for one that is not there
 */
export function classNumber(label: ClassLabel, labels: Readonly<Record<number, string>>, count: number): number {
  if (typeof label === 'string') return resolveClass(label, labels);
  if (Number.isInteger(label) && label >= 0 && label < count) return label;
  throw new InvalidArgumentError(`generate: expected a class of 0 … ${count - 1}, got ${label}`);
}
