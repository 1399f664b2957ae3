import { defineConfig } from 'vite';
import { wgslPlugin } from '../scripts/wgslPlugin.ts';

/** How long plugins took is no news to whoever waits for a bench. */
const checks = { pluginTimings: false };

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
      ? { outDir: '../../.bench/page', rolldownOptions: { checks } }
      : {
          outDir: '.bench/node',
          ssr: true,
          rolldownOptions: {
            checks,
            input: { main: 'bench/main.ts', start: 'bench/start.ts', child: 'bench/peers/child.ts' },
            output: { entryFileNames: '[name].js' },
          },
        }),
  },
}));
