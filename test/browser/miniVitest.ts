/**
 * The part of vitest's interface that kernel tests use, for a page: collecting instead of running, so that a page can
 * take a share of the cases. `expect` is vitest's own.
 */
import { chai, JestAsymmetricMatchers, JestChaiExpect, JestExtend } from '@vitest/expect';

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);
export const expect = chai.expect;

export interface CollectedTest {
  name: string;
  /** Number of the `it.each` that it is of, and its place among those; a plain `it` is a block of its own. */
  block: number;
  index: number;
  run: () => unknown;
}

type Body = (...args: never[]) => unknown;

let path: string[] = [];
let blocks = 0;
let collected: CollectedTest[] = [];

/** Tests that were declared since the last call. */
export function takeTests(): CollectedTest[] {
  const tests = collected;
  [collected, path, blocks] = [[], [], 0];
  return tests;
}

function show(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** `$name` and `%s` of a title, as far as they are used here. */
function title(pattern: string, args: readonly unknown[]): string {
  const row = args[0] as Record<string, unknown>;
  const dig = (names: string): unknown =>
    names.split('.').reduce<unknown>((value, name) => (value as Record<string, unknown>)?.[name], row);
  let next = 0;
  return pattern
    .replace(/\$([A-Za-z_][\w.]*)/g, (all, names: string) => (typeof row === 'object' ? show(dig(names)) : all))
    .replace(/%[sidfjo]/g, () => show(args[next++]));
}

const spread = (row: unknown): unknown[] => (Array.isArray(row) ? row : [row]);

function declare(name: string, block: number, index: number, run: () => unknown): void {
  collected.push({ name: [...path, name].join(' > '), block, index, run });
}

export function describe(name: string, body: () => void): void {
  path.push(name);
  body();
  path.pop();
}

describe.each =
  (rows: readonly unknown[]) =>
  (name: string, body: Body): void =>
    rows.map(spread).forEach((args) => describe(title(name, args), () => body(...(args as never[]))));

export function it(name: string, body: Body): void {
  declare(name, blocks++, 0, body as () => unknown);
}

it.each =
  (rows: readonly unknown[]) =>
  (name: string, body: Body): void => {
    const block = blocks++;
    rows.map(spread).forEach((args, i) => declare(title(name, args), block, i, () => body(...(args as never[]))));
  };

it.runIf = (condition: boolean) => (condition ? it : (): void => {});
it.skipIf = (condition: boolean) => it.runIf(!condition);
export const test = it;
