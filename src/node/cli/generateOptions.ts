import { basename, dirname, extname, join } from 'node:path';
import { packageRoot } from '../setup/cacheFolder.ts';
import { UsageError } from './exit.ts';

/** What `daguerre generate` was asked for; every value is in its range. */
export interface GenerateOptions {
  /** Path, URL or hub name. */
  model: string;
  /** Numbers, names or unmistakable parts of names; empty for one of every class. */
  classes: string[];
  /** What to see, where pictures are made from texts; what not to see. */
  prompts?: string[];
  negative?: string;
  /** PNG files: where to start, where to change it, and what each ControlNet sees. */
  image?: string;
  mask?: string;
  controls?: string[];
  /** How much of the way is gone from `image`, above 0 … 1. */
  strength?: number;
  /** How noisy a small picture is made before it is enlarged by a text. */
  noiseLevel?: number;
  /** JSON file of indices of a codebook. */
  codes?: string;
  /** Pictures, where they are made from noise alone. */
  count?: number;
  /** Folder of a tokenizer, for a checkpoint in one file. */
  tokenizer?: string;
  steps: number;
  /** Which of these nobody asked for: kinds that know better take their own. */
  untold?: readonly ('steps' | 'guidance')[];
  sampler?: 'ddim' | 'ddpm';
  guidance: number;
  /** 0 … 1. */
  eta?: number;
  /** Divides the logits of codes that are drawn, above 0. */
  temperature?: number;
  /** Of the first picture; the next ones count up. */
  seed: number;
  /** Pixels; the model's own size where not given. */
  width?: number;
  height?: number;
  /** Pictures of each class or text. */
  batch: number;
  /** A folder, or the sheet's own file name ending in .png. */
  out: string;
  dtype: 'auto' | 'f32' | 'f16';
  adapter?: string;
  /** Larger buffers and bindings: where the adapter is hardware, or never; default `auto`. */
  limits?: 'auto' | 'default';
  /** Also one file per picture. */
  separate: boolean;
  /** Enlargement of sheet and strip; by the pictures' size where not given. */
  scale?: number;
}

export const defaultModel = (): string => join(packageRoot(), 'weights', 'emoji');

/** More classes than this are not made all at once unasked. */
const MANY_CLASSES = 64;

/** Combinations that no single option can know of, whatever the model. @throws UsageError */
export function checkCombination(options: GenerateOptions): void {
  const { image, width, height } = options;
  if (image === undefined && options.mask !== undefined) {
    throw new UsageError(
      '--mask: expected together with --image, got it alone; name the picture that is to be changed',
    );
  }
  if (image === undefined && options.strength !== undefined) {
    throw new UsageError('--strength: expected together with --image, got it alone; name the picture to start from');
  }
  if (image !== undefined && (width ?? height) !== undefined) {
    const name = width === undefined ? '--height' : '--width';
    throw new UsageError(`${name}: expected without --image, got both; the size follows from the picture`);
  }
  if (image !== undefined && options.codes !== undefined) {
    throw new UsageError('--codes: expected without --image, got both; leave one of them out');
  }
  if (options.sampler === 'ddpm' && options.eta !== undefined) {
    throw new UsageError('--eta: expected with --sampler ddim only, got it with ddpm; leave one of them out');
  }
}

/**
 * The class numbers that words stand for: a number, a name, or a part of just one name; case does not matter.
 * A word with commas is a list, unless a name reads so.
 * @throws UsageError naming the word and what there is
 */
export function resolveClasses(words: readonly string[], labels: Readonly<Record<number, string>>): number[] {
  const entries = Object.entries(labels).map(([id, name]) => ({ id: Number(id), name: name.toLowerCase() }));
  if (entries.length === 0) return classNumbers(words);
  if (words.length === 0 && entries.length <= MANY_CLASSES) return entries.map(({ id }) => id);
  const shown = entries.slice(0, 20).map(({ id }) => `${id} ${labels[id]}`);
  const offer = `${shown.join(', ')}${entries.length > 20 ? `, … (${entries.length} in all)` : ''}`;
  if (words.length === 0) throw new UsageError(`--class: expected a number or name of ${offer}; got none`);

  const find = (word: string): number[] => {
    const wanted = word.trim().toLowerCase();
    const exact = entries.filter(({ id, name }) => name === wanted || String(id) === wanted);
    if (exact.length > 0) return exact.map(({ id }) => id);
    if (/^-?\d+$/.test(wanted) || wanted === '') return [];
    return entries.filter(({ name }) => name.includes(wanted)).map(({ id }) => id);
  };
  const one = (word: string): number => {
    const found = find(word);
    if (found.length === 1) return found[0];
    const what =
      found.length === 0 ? 'which is none of them' : `which fits ${found.map((id) => labels[id]).join(' and ')}`;
    throw new UsageError(`--class: expected a number or name of ${offer}; got ${JSON.stringify(word.trim())}, ${what}`);
  };
  return words.flatMap((word) => {
    const all = find(word);
    return all.length === 1 ? all : word.split(',').map(one);
  });
}

/**
 * Classes of a model that names none. @throws UsageError naming the word that is no number, or where there is no word
 */
export function classNumbers(words: readonly string[]): number[] {
  const list = words.flatMap((word) => word.split(',')).map((word) => word.trim());
  const bad = list.find((word) => !/^\d+$/.test(word));
  if (list.length > 0 && bad === undefined) return list.map(Number);
  const got = bad === undefined ? 'none' : JSON.stringify(bad);
  throw new UsageError(`--class: expected a number, since this model does not name its classes, got ${got}`);
}

/** A name without anything that a file system, a shell or a reader could stumble over. */
export function fileWords(name: string): string {
  const words = name
    .normalize('NFKD')
    .toLowerCase()
    .match(/[\p{Letter}\p{Number}]+/gu);
  // Texts may be longer than a file system allows names to be.
  return words?.join('-').slice(0, 60).replace(/-$/, '') ?? 'picture';
}

export interface OutputPaths {
  sheet: string;
  strip: string;
  /** Of picture `index`, counted from 0, of `count`. */
  picture(index: number, count: number, label: string, seed: number): string;
}

/** Where the files of a run go. */
export function outputPaths({ out, model }: Pick<GenerateOptions, 'out' | 'model'>): OutputPaths {
  const toFile = extname(out).toLowerCase() === '.png';
  const folder = toFile ? dirname(out) : out;
  const stem = toFile
    ? basename(out, extname(out))
    : fileWords(
        basename(
          model
            .replace(/[?#].*$/s, '')
            .replace(/[\\/]+$/, '')
            .replace(/\.safetensors$/, ''),
        ),
      );
  return {
    sheet: toFile ? out : join(folder, `${stem}-sheet.png`),
    strip: join(folder, `${stem}-developing.png`),
    picture(index, count, label, seed) {
      const number = String(index + 1).padStart(String(count).length, '0');
      return join(folder, `${stem}-${number}-${fileWords(label)}-seed-${seed}.png`);
    },
  };
}
