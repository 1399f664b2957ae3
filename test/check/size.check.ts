/** The core, the static import graph of src/index.ts, stays small: minified and gzipped as a page would ship it. */
import { gzipSync } from 'node:zlib';
import { build, type Rolldown } from 'vite';
import { expect, it } from 'vitest';
import { wgslPlugin } from '../../scripts/wgslPlugin.ts';

const CORE_LIMIT = 60 * 1024;

it('ships a core of at most 60 KiB, without a run-time dependency', async () => {
  const built = await build({
    configFile: false,
    logLevel: 'error',
    plugins: [wgslPlugin()],
    build: {
      write: false,
      target: 'es2022',
      lib: { entry: 'src/index.ts', formats: ['es'] },
      rolldownOptions: { output: { minify: true } },
    },
  });
  const chunks = (built as Rolldown.RolldownOutput[])[0].output.filter((o) => o.type === 'chunk');
  const byName = new Map(chunks.map((c) => [c.fileName, c]));
  const reach = (from: Iterable<string>): Set<string> => {
    const reached = new Set<string>();
    const visit = (name: string) => {
      expect(byName.has(name), `${name} is imported from outside`).toBe(true);
      if (reached.has(name)) return;
      reached.add(name);
      byName.get(name)!.imports.forEach(visit);
    };
    for (const name of from) visit(name);
    return reached;
  };
  const named = (module: string) =>
    chunks.filter((c) => c.moduleIds.some((id) => id.endsWith(module))).map((c) => c.fileName);
  const entry = chunks.find((c) => c.isEntry)!.fileName;
  const core = reach([entry]);
  const emoji = reach([entry, ...named('/classLatentDiffusion.ts'), ...named('/samplerFrom.ts')]);
  const size = (names: Iterable<string>) =>
    [...names].reduce((sum, name) => sum + gzipSync(byName.get(name)!.code, { level: 9 }).length, 0);
  console.log(
    `core ${size(core)} bytes gzip; with the emoji's pipeline and the samplers ${size(emoji)}; everything ${size(byName.keys())}`,
  );
  expect(size(core)).toBeGreaterThan(10_000);
  expect(size(core)).toBeLessThanOrEqual(CORE_LIMIT);
});
