import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';
import { wgslPlugin } from '../scripts/wgslPlugin.ts';
import { answerFrom } from '../src/node/cli/staticServer.ts';

const project = join(import.meta.dirname, '..');

/** The models beside the page while developing; the built page gets them from whoever serves it (`daguerre demo`). */
function weights(): Plugin {
  const mounts = [{ prefix: '/weights/', folder: join(project, 'weights') }];
  return {
    name: 'daguerre-weights',
    configureServer({ middlewares }) {
      middlewares.use((request, response, next) => {
        if (request.url?.startsWith('/weights/')) void answerFrom(mounts, request, response);
        else next();
      });
    },
  };
}

/** The demo page: `vite demo` while working on it, `vite build demo` into dist/demo. */
export default defineConfig({
  root: import.meta.dirname,
  // Relative, so that the page works in any folder of any server.
  base: './',
  plugins: [wgslPlugin(), weights()],
  build: {
    target: 'es2022',
    outDir: join(project, 'dist', 'demo'),
    emptyOutDir: true,
    sourcemap: true,
  },
});
