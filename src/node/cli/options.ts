/** Readers of option values. Each names its option and range when it refuses. */
import { UsageError } from './exit.ts';

function refuse(option: string, expected: string, got: string): never {
  throw new UsageError(`${option}: expected ${expected}, got ${JSON.stringify(got)}`);
}

/** A decimal integer in `min … max`. */
export function whole(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(value) || value < min || value > max) {
      refuse(option, `a whole number from ${min} to ${max}`, text);
    }
    return value;
  };
}

/** A decimal number in `min … max`. */
export function decimal(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) || !(value >= min && value <= max)) {
      refuse(option, `a number from ${min} to ${max}`, text);
    }
    return value;
  };
}

/** One of a few words. */
export function choice<T extends string>(option: string, values: readonly T[]): (text: string) => T {
  return (text) => {
    const found = values.find((value) => value === text.toLowerCase());
    return found ?? refuse(option, values.join(' or '), text);
  };
}

/** Any text but none. */
export function text(option: string, what: string): (text: string) => string {
  return (value) => (value.trim() === '' ? refuse(option, what, value) : value);
}

/** As {@link text}, gathered over repetitions of the option. */
export function repeated(option: string, what: string): (text: string, before?: string[]) => string[] {
  const read = text(option, what);
  return (value, before = []) => [...before, read(value)];
}
