import { defineConfig } from 'vitest/config';
import { wgslPlugin } from './scripts/wgslPlugin.ts';

export default defineConfig({
  plugins: [wgslPlugin()],
  test: {
    include: ['test/**/*.test.ts'],
    // Dawn aborts a process whose worker threads end with GPU work pending; whole processes end cleanly.
    pool: 'forks',
    maxWorkers: 2,
    // Software adapters: the first use of a kernel compiles it, which alone can take seconds.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    teardownTimeout: 10_000,
    globalSetup: ['test/support/globalSetup.ts'],
  },
});
