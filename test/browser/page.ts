/// <reference types="vite/client" />
/** Runs kernel tests in a page: the same files, cases and references that Node runs. */
import { takeTests, type CollectedTest } from './miniVitest.ts';

const suites = import.meta.glob('../kernels/*.test.ts');

export interface SuiteResult {
  declared: number;
  passed: number;
  failures: string[];
}

/** At most `share` tests of each block, spread over it, the first and the last among them. */
function choose(tests: readonly CollectedTest[], share: number): CollectedTest[] {
  const sizes = new Map<number, number>();
  for (const { block, index } of tests) sizes.set(block, Math.max(sizes.get(block) ?? 0, index + 1));
  return tests.filter(({ block, index }) => {
    const size = sizes.get(block)!;
    if (size <= share) return true;
    const chosen = Array.from({ length: share }, (_, i) => Math.round((i * (size - 1)) / Math.max(1, share - 1)));
    return chosen.includes(index);
  });
}

/** Runs the tests of one file. @param share most tests of each `it.each` */
async function runSuite(file: string, share: number): Promise<SuiteResult> {
  const load = suites[`../kernels/${file}`];
  if (!load) throw new Error(`no suite ${file}; there are ${Object.keys(suites).join(', ')}`);
  await load();
  const tests = takeTests();
  const result: SuiteResult = { declared: tests.length, passed: 0, failures: [] };
  for (const { name, run } of choose(tests, share)) {
    try {
      await run();
      result.passed++;
    } catch (error) {
      result.failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return result;
}

Object.assign(globalThis, { runSuite });
