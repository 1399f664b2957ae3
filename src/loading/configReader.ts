import { ConfigError } from '../engine/errors.ts';
import { brief, jsonText } from './json.ts';

/** A parsed config.json: any JSON object. */
export type RawConfig = Readonly<Record<string, unknown>>;

/** Bounds of a numeric field, both inclusive; `above` is exclusive. */
export interface Range {
  min?: number;
  max?: number;
  above?: number;
  /** The reference library treats null like an absent field here. */
  nullIsDefault?: boolean;
}

/** Bounds of every element of an array field, and the length it must have. */
export interface ArrayRange extends Range {
  length?: number;
  minLength?: number;
}

/** What a config held that no getter asked for. */
export interface ConfigReport {
  /** Fields that cannot change the result, with a value present: worth a line in a log, never an error. */
  readonly ignored: readonly string[];
}

type Check<T> = (value: unknown) => T | undefined;

/**
 * Reads a config field by field and remembers which were asked for, so that {@link ConfigReader.done} can refuse a
 * config that says something the model does not understand.
 *
 * ```ts
 * const cfg = new ConfigReader(raw, 'UNet2DModel');
 * const layers = cfg.int('layers_per_block', 2, { min: 1 });
 * const act = cfg.enum('act_fn', ['silu', 'gelu'], 'silu');
 * const heads = cfg.nullableInt('attention_head_dim', 8, { min: 1 });
 * cfg.ignored(['dropout']);
 * const report = cfg.done();
 * ```
 *
 * A getter whose default is `undefined` makes the field required. A null is an error unless the getter is a nullable
 * one or `nullIsDefault` is set.
 */
export class ConfigReader {
  readonly raw: RawConfig;
  readonly className: string;
  private readonly asked = new Set<string>();
  private readonly skipped = new Set<string>();

  /** @param className the model or scheduler that the config is for; every message starts with it */
  constructor(raw: RawConfig, className: string) {
    this.raw = raw;
    this.className = className;
  }

  /** Whether the field is present and not null; does not count as asking for it. */
  has(field: string): boolean {
    return this.own(field) !== undefined && this.own(field) !== null;
  }

  /** An integer. @throws ConfigError when absent without default, not an integer, or outside the range */
  int(field: string, fallback?: number, range: Range = {}): number {
    return this.get(field, fallback, `an integer${describe(range)}`, asInt(range), range.nullIsDefault);
  }

  /**
   * An integer or null; an absent field gives the default, a null stays null.
   * @throws ConfigError when not an integer or outside the range
   */
  nullableInt(field: string, fallback: number | null = null, range: Range = {}): number | null {
    return this.getNullable(field, fallback, `an integer${describe(range)} or null`, asInt(range));
  }

  /** A finite number. @throws ConfigError when absent without default, not a finite number, or outside the range */
  number(field: string, fallback?: number, range: Range = {}): number {
    return this.get(field, fallback, `a number${describe(range)}`, asNumber(range), range.nullIsDefault);
  }

  /**
   * A finite number or null; an absent field gives the default, a null stays null.
   * @throws ConfigError when not a finite number or outside the range
   */
  nullableNumber(field: string, fallback: number | null = null, range: Range = {}): number | null {
    return this.getNullable(field, fallback, `a number${describe(range)} or null`, asNumber(range));
  }

  /** true or false. @throws ConfigError for anything else */
  bool(field: string, fallback?: boolean, options: { nullIsDefault?: boolean } = {}): boolean {
    return this.get(field, fallback, 'true or false', asBool, options.nullIsDefault);
  }

  /**
   * true, false or null; an absent field gives the default, a null stays null.
   * @throws ConfigError for anything else
   */
  nullableBool(field: string, fallback: boolean | null = null): boolean | null {
    return this.getNullable(field, fallback, 'true, false or null', asBool);
  }

  /** Any string. @throws ConfigError when absent without default, or not a string */
  string(field: string, fallback?: string): string {
    return this.get(field, fallback, 'a string', asString);
  }

  /** Any string, or null. @throws ConfigError for anything else */
  nullableString(field: string, fallback: string | null = null): string | null {
    return this.getNullable(field, fallback, 'a string or null', asString);
  }

  /** One of the values that the model understands. @throws ConfigError naming them all */
  enum<const T extends string>(
    field: string,
    values: readonly T[],
    fallback?: NoInfer<T>,
    options: { nullIsDefault?: boolean } = {},
  ): T {
    return this.get(field, fallback, oneOf(values), asEnum(values), options.nullIsDefault);
  }

  /** One of the values that the model understands, or null. @throws ConfigError naming them all */
  nullableEnum<const T extends string>(
    field: string,
    values: readonly T[],
    fallback: NoInfer<T> | null = null,
  ): T | null {
    return this.getNullable(field, fallback, `${oneOf(values)} or null`, asEnum(values));
  }

  /** An array of integers. @throws ConfigError when absent without default, or of another kind, length or range */
  intArray(field: string, fallback?: readonly number[], range: ArrayRange = {}): number[] {
    const check = asArray(asInt(range), range);
    return [...this.get(field, fallback, `an array of ${count(range)}integers${describe(range)}`, check)];
  }

  /**
   * An array of finite numbers.
   * @throws ConfigError when absent without default, or of another kind, length or range
   */
  numberArray(field: string, fallback?: readonly number[], range: ArrayRange = {}): number[] {
    const check = asArray(asNumber(range), range);
    return [...this.get(field, fallback, `an array of ${count(range)}numbers${describe(range)}`, check)];
  }

  /** An array of finite numbers, or null. @throws ConfigError when of another kind, length or range */
  nullableNumberArray(
    field: string,
    fallback: readonly number[] | null = null,
    range: ArrayRange = {},
  ): number[] | null {
    const what = `an array of ${count(range)}numbers${describe(range)}, or null`;
    const got = this.getNullable(field, fallback, what, asArray(asNumber(range), range));
    return got === null ? null : [...got];
  }

  /**
   * An array of strings, each one of the values that the model understands.
   * @throws ConfigError when absent without default, or of another kind, length or value
   */
  enumArray<const T extends string>(
    field: string,
    values: readonly T[],
    fallback?: readonly NoInfer<T>[],
    range: ArrayRange = {},
  ): T[] {
    const what = `an array of ${count(range)}strings, each ${oneOf(values)}`;
    return [...this.get(field, fallback, what, asArray(asEnum(values), range))];
  }

  /**
   * An integer that stands for every level, or an array with one per level; always returned as an array.
   * @throws ConfigError when absent without default, or of another kind, length or range
   */
  intPerLevel(field: string, levels: number, fallback?: number | readonly number[], range: Range = {}): number[] {
    const each = asInt(range);
    const list = asArray(each, { length: levels });
    const what = `an integer${describe(range)}, or an array of ${levels} of them`;
    const check = (value: unknown): number[] | undefined => {
      const one = each(value);
      return one === undefined ? list(value) : Array<number>(levels).fill(one);
    };
    const got = this.get(field, fallback, what, check, range.nullIsDefault);
    return typeof got === 'number' ? Array<number>(levels).fill(got) : [...got];
  }

  /**
   * true or false for every level, or an array with one per level; always returned as an array.
   * @throws ConfigError when absent without default, or of another kind or length
   */
  boolPerLevel(field: string, levels: number, fallback?: boolean | readonly boolean[]): boolean[] {
    const list = asArray(asBool, { length: levels });
    const check = (value: unknown): boolean[] | undefined =>
      typeof value === 'boolean' ? Array<boolean>(levels).fill(value) : list(value);
    const got = this.get(field, fallback, `true or false, or an array of ${levels} of them`, check);
    return typeof got === 'boolean' ? Array<boolean>(levels).fill(got) : [...got];
  }

  /**
   * For a field of which only one setting is built: absent, or equal to one of the given JSON values, passes.
   * @throws ConfigError saying that another value would change the result
   */
  only(field: string, ...values: readonly unknown[]): void {
    this.asked.add(field);
    const value = this.own(field);
    if (value === undefined || values.some((v) => jsonText(v) === jsonText(value))) return;
    this.refuse(field, values.map(jsonText).join(' or '), 'this version builds no other setting');
  }

  /** Names fields that cannot change the result (dropout, initialisers, training options). */
  ignored(fields: readonly string[]): void {
    for (const field of fields) this.skipped.add(field);
  }

  /**
   * To be called after the last getter.
   * @returns the ignored fields that were present, underscore-prefixed ones included
   * @throws ConfigError on the first field that neither a getter nor {@link ConfigReader.ignored} named
   */
  done(): ConfigReport {
    const ignored: string[] = [];
    const unknown: string[] = [];
    for (const field of Object.keys(this.raw)) {
      if (this.asked.has(field)) continue;
      (this.skipped.has(field) || field.startsWith('_') ? ignored : unknown).push(field);
    }
    if (unknown.length > 0) {
      const shown = unknown.slice(0, 5).map((f) => `${f} = ${brief(this.raw[f])}`);
      const more = unknown.length > shown.length ? ` and ${unknown.length - shown.length} more` : '';
      throw new ConfigError(
        `${this.className} config: expected only fields that are understood, got ${shown.join(', ')}${more}; ` +
          'each could change the result, so remove them only if they do not, or use a version that knows them',
        unknown[0],
      );
    }
    return { ignored };
  }

  /**
   * Refuses a field whose value is well-formed but does not fit the others.
   * @param expected what the field should be, in words
   * @throws ConfigError naming the field, always
   */
  refuse(field: string, expected: string, advice = 'correct the config'): never {
    const value = this.own(field);
    const got = value === undefined ? 'no such field' : brief(value);
    throw new ConfigError(
      `${this.className} config: expected ${field} to be ${expected}, got ${got}; ${advice}`,
      field,
    );
  }

  private own(field: string): unknown {
    return Object.hasOwn(this.raw, field) ? this.raw[field] : undefined;
  }

  private get<T>(field: string, fallback: T | undefined, what: string, check: Check<T>, nullIsDefault = false): T {
    this.asked.add(field);
    const value = this.own(field);
    if (value === undefined || (value === null && nullIsDefault)) {
      return fallback === undefined ? this.refuse(field, what, 'add the field') : fallback;
    }
    return check(value) ?? this.refuse(field, what);
  }

  private getNullable<T>(field: string, fallback: T | null, what: string, check: Check<T>): T | null {
    this.asked.add(field);
    const value = this.own(field);
    if (value === undefined) return fallback;
    return value === null ? null : (check(value) ?? this.refuse(field, what));
  }
}

const asBool: Check<boolean> = (value) => (typeof value === 'boolean' ? value : undefined);
const asString: Check<string> = (value) => (typeof value === 'string' ? value : undefined);

function asNumber(range: Range): Check<number> {
  return (value) =>
    typeof value === 'number' &&
    Number.isFinite(value) &&
    value >= (range.min ?? -Infinity) &&
    value <= (range.max ?? Infinity) &&
    value > (range.above ?? -Infinity)
      ? value
      : undefined;
}

function asInt(range: Range): Check<number> {
  const inRange = asNumber(range);
  return (value) => (Number.isSafeInteger(value) ? inRange(value) : undefined);
}

function asEnum<T extends string>(values: readonly T[]): Check<T> {
  return (value) => values.find((v) => v === value);
}

function asArray<T>(each: Check<T>, range: ArrayRange): Check<T[]> {
  return (value) => {
    if (!Array.isArray(value)) return undefined;
    if (value.length !== (range.length ?? value.length) || value.length < (range.minLength ?? 0)) return undefined;
    const out: T[] = [];
    for (const item of value) {
      const one = each(item);
      if (one === undefined) return undefined;
      out.push(one);
    }
    return out;
  };
}

function describe(range: Range): string {
  const parts = [];
  if (range.above !== undefined) parts.push(`> ${range.above}`);
  if (range.min !== undefined) parts.push(`>= ${range.min}`);
  if (range.max !== undefined) parts.push(`<= ${range.max}`);
  return parts.length > 0 ? ` ${parts.join(' and ')}` : '';
}

function count(range: ArrayRange): string {
  if (range.length !== undefined) return `${range.length} `;
  return range.minLength !== undefined ? `at least ${range.minLength} ` : '';
}

function oneOf(values: readonly string[]): string {
  return values.map((v) => `"${v}"`).join(' or ');
}
