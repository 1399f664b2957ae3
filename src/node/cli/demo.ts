import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { NotFoundError } from '../../engine/errors.ts';
import { packageRoot } from '../setup/cacheFolder.ts';
import { EXIT } from './exit.ts';
import { onInterrupt } from './interrupt.ts';
import { serveFolders, type StaticServer } from './staticServer.ts';
import type { Terminal } from './terminal.ts';

export interface DemoOptions {
  port: number;
  host: string;
  /** Folder of the model; default the emoji model of the package. */
  weights?: string;
  /** Folder of the built page; default `dist/demo` of the package. */
  page?: string;
}

/** Models of the package that the page offers beside its first one. */
const OTHERS = ['emoji-text', 'emoji-dit', 'emoji-vq'];

/**
 * Serves the built page and a model beside it, as `./weights/emoji`, with those of the package that are there.
 * @throws NotFoundError when the page is not built or the folder holds no model
 */
export async function serveDemo(options: DemoOptions): Promise<StaticServer> {
  const page = options.page ?? join(packageRoot(), 'dist', 'demo');
  const weights = resolve(options.weights ?? join(packageRoot(), 'weights', 'emoji'));
  if (!existsSync(join(page, 'index.html'))) {
    throw new NotFoundError(`demo: expected the built page in ${page}, got nothing; run: npm run build`);
  }
  if (!existsSync(join(weights, 'model_index.json'))) {
    throw new NotFoundError(`demo: expected a model in ${weights}, got no model_index.json there; name its folder`);
  }
  const others = OTHERS.map((name) => ({
    prefix: `/weights/${name}/`,
    folder: join(packageRoot(), 'weights', name),
  }));
  const mounts = [
    { prefix: '/weights/emoji/', folder: weights },
    ...others.filter(({ folder }) => existsSync(folder)),
    { prefix: '/', folder: page },
  ];
  return serveFolders(mounts, { port: options.port, host: options.host });
}

/** `daguerre demo`: serves until Ctrl-C, which is how it is meant to end (status 0). */
export async function demoCommand(options: DemoOptions, terminal: Terminal): Promise<number> {
  const interrupt = onInterrupt();
  const server = await serveDemo(options);
  terminal.out(`the demo is at ${server.url}`);
  terminal.note('Ctrl-C stops it');
  if (!interrupt.signal.aborted) {
    await new Promise((stop) => interrupt.signal.addEventListener('abort', stop, { once: true }));
  }
  await server.close();
  interrupt.dispose();
  return EXIT.ok;
}
