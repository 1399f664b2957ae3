/**
 * `npm test`: sets up, runs vitest with the arguments given, and closes with the line `N passed, N failed`.
 * `--full` runs the whole product of cases instead of the seeded choice.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, setup } from './setup.mjs';

setup();

const args = process.argv.slice(2).filter((arg) => arg !== '--full');
const env = { ...process.env };
if (args.length < process.argv.length - 2) env.DAGUERRE_FULL = '1';
// A run of everything needs the browser: fetched before the tests, since fetching may outlast a test's time.
if (args.length === 0) env.DAGUERRE_TEST_BROWSER = '1';

const results = join(root, '.cache', `test-results-${process.pid}.json`);
mkdirSync(dirname(results), { recursive: true });
const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${results}`];
const run = spawnSync(process.execPath, [vitest, 'run', ...reporters, ...args], { cwd: root, env, stdio: 'inherit' });

/** A file that does not load has no failed test, and an error outside any test fails none: each counts as one. */
function count() {
  let report;
  try {
    report = JSON.parse(readFileSync(results, 'utf8'));
  } catch {
    return { passed: 0, failed: 1, skipped: 0 }; // vitest itself did not come to an end
  }
  const broken = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  );
  for (const file of broken) console.log(`did not run to its end: ${file.name}: ${file.message}`);
  const failed = report.numFailedTests + broken.length;
  const skipped = report.numPendingTests + report.numTodoTests;
  return { passed: report.numPassedTests, failed: run.status === 0 ? failed : Math.max(1, failed), skipped };
}

const { passed, failed, skipped } = count();
rmSync(results, { force: true });
if (skipped > 0) console.log(`${skipped} skipped`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
