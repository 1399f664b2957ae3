import { defineConfig } from 'vitest/config';
import { wgslPlugin } from './scripts/wgslPlugin.ts';

/** What `npm run check` compiles: no adapter is needed, Dawn's null backend validates. */
export default defineConfig({
  plugins: [wgslPlugin()],
  test: { include: ['test/check/*.check.ts'], pool: 'forks', maxWorkers: 1, testTimeout: 120_000 },
});
