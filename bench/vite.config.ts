import { defineConfig } from 'vite';
import { wgslPlugin } from '../scripts/wgslPlugin.ts';

/** The bench, not part of the package: `--mode page` is what Chromium loads, `--mode node` what Node runs. */
export default defineConfig(({ mode }) => ({
  root: mode === 'page' ? 'bench/page' : '.',
  base: './',
  logLevel: 'warn',
  plugins: [wgslPlugin()],
  build: {
    target: 'es2022',
    minify: false,
    emptyOutDir: true,
    ...(mode === 'page'
      ? { outDir: '../../.bench/page' }
      : { outDir: '.bench/node', ssr: 'bench/main.ts', rolldownOptions: { output: { entryFileNames: 'main.js' } } }),
  },
}));
