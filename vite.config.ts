import { defineConfig } from 'vite';
import { wgslPlugin } from './scripts/wgslPlugin.ts';

/** The library: browser-safe entries and the Node side, ES modules only, nothing bundled that is a dependency. */
export default defineConfig({
  plugins: [wgslPlugin()],
  build: {
    target: 'es2022',
    minify: false,
    sourcemap: true,
    emptyOutDir: true,
    lib: {
      entry: {
        index: 'src/index.ts',
        models: 'src/models/all.ts',
        ops: 'src/kernels/all.ts',
        pipelines: 'src/pipelines/all.ts',
        sampler: 'src/sampler/index.ts',
        node: 'src/node/index.ts',
        cli: 'src/node/cli.ts',
      },
      formats: ['es'],
    },
    rolldownOptions: {
      external: [
        /^node:/,
        '@huggingface/tokenizers',
        'webgpu',
        'commander',
        'cli-progress',
        'pngjs',
        'puppeteer',
        'vite',
      ],
      output: { chunkFileNames: 'chunks/[name]-[hash].js' },
    },
  },
});
