import { defineConfig } from 'vitest/config';
import { wgslPlugin } from './scripts/wgslPlugin.ts';

/**
 * Tests that share a process with others, which keeps modules, devices and what has been compiled: networks and
 * pipelines are made of the same kernels. The rest look at processes, adapters and their environment, and have one of
 * their own.
 */
const TOGETHER = [
  'test/kernels/*.test.ts',
  'test/kernels/matrices/*.test.ts',
  'test/models/**/*.test.ts',
  'test/pipelines/**/*.test.ts',
];

export default defineConfig({
  plugins: [wgslPlugin()],
  test: {
    // Dawn aborts a process whose worker threads end with GPU work pending; whole processes end cleanly.
    pool: 'forks',
    maxWorkers: 2,
    // Software adapters: the first use of a kernel compiles it, which alone can take seconds.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    teardownTimeout: 10_000,
    globalSetup: ['test/support/globalSetup.ts'],
    projects: [
      { extends: true, test: { name: 'together', include: TOGETHER, isolate: false } },
      { extends: true, test: { name: 'alone', include: ['test/**/*.test.ts'], exclude: TOGETHER } },
    ],
  },
});
