import { findBrowser } from '../../src/node/browser.ts';
import { ensureComponent, logToStderr } from '../../src/node/setup/components.ts';
import { adapters } from './gpu.ts';

/**
 * Puts the software adapters in place once, before the test processes start. What cannot be had is told here and fails
 * in the tests that need it, so that the others still run.
 */
export default async function setup(): Promise<void> {
  for (const name of adapters()) {
    if (name !== 'lavapipe' && name !== 'swiftshader') continue;
    await ensureComponent(name).catch((error: Error) => logToStderr(error.message));
  }
  // A full run uses the browser for certain; fetching it may take longer than a test is given.
  if (process.env.DAGUERRE_TEST_BROWSER) await findBrowser().catch((error: Error) => logToStderr(error.message));
}
