/** Which cases run. */
import type { Candidate, Suite } from './result.ts';

/** What the core of the bench is told; plain data, so that a page can be told it too. */
export interface Selection {
  suites: readonly Suite[];
  /** Patterns of names, with `*` and `?`, by commas. */
  only?: string;
  dtypes: readonly ('f32' | 'f16')[];
  /** Times measured of each case, at most. */
  reps: number;
  /** Milliseconds that a case, or a peer of it, may take of being measured; default 10,000. */
  budgetMs?: number;
  /** Whether ways of computing are chosen by measurement before they are timed. */
  tune?: boolean;
  /** Pattern of the ways in which peers do the work, where not all are to be tried. */
  variants?: string;
  /** One small case of each group, and no more than three times. */
  quick: boolean;
}

/** Whether `text` as a whole fits a pattern in which `*` stands for any characters and `?` for one. */
export function fits(pattern: string, text: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${source}$`, 'is').test(text);
}

/** What a processor is given of kernels: about a second each. A GPU gets all. Multiply–adds × 2, and bytes. */
export const SOFTWARE_FLOPS = 2.2e9;
export const SOFTWARE_BYTES = 64 * 2 ** 20;
/** Of models it is given what takes some seconds. */
export const SOFTWARE_MODEL_FLOPS = 2e11;

export interface Selectable {
  suite: Suite;
  name: string;
  dtype: 'f32' | 'f16';
  /** Arithmetic and bytes of one run. */
  flops: number;
  bytes: number;
  /** Among the small ones of its group. */
  quick?: boolean;
  /** Of the suite `candidates`. */
  candidate?: Candidate;
  /** A software adapter takes long to compile it. */
  slow?: boolean;
}

/**
 * A pattern may name the whole case, its group, or the part behind the group; or what the case is one way of computing.
 */
export function selects(selection: Selection, software: boolean, c: Selectable): boolean {
  const { suites, only, dtypes, quick } = selection;
  const wholes = [c.name, ...(c.candidate ? [c.candidate.of] : [])];
  const names = wholes.flatMap((name) => [name, ...name.split('/')]);
  const patterns = only?.split(',');
  return (
    suites.includes(c.suite) &&
    dtypes.includes(c.dtype) &&
    (!patterns || patterns.some((pattern) => names.some((name) => fits(pattern, name)))) &&
    (!quick || c.quick === true) &&
    // What is asked for by its full name runs even where it takes long.
    (!software ||
      patterns?.includes(c.name) ||
      (!c.slow && (wholes.some((name) => patterns?.includes(name)) || isSmall(c))))
  );
}

const isSmall = ({ suite, flops, bytes }: Selectable) =>
  flops <= (suite === 'kernels' || suite === 'candidates' ? SOFTWARE_FLOPS : SOFTWARE_MODEL_FLOPS) &&
  bytes <= SOFTWARE_BYTES;
