/**
 * `npm run bench:peers`: installs the other runtimes beside this file, and exports the models that they run. Arguments
 * are names of models (see ../models/models.json); none means all. Python with torch (2.5 or newer) and onnx does the
 * export; without it the peers take part in the suite of kernels only.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const peers = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(peers));
const run = (program, args, cwd) => {
  const { status, error } = spawnSync(program, args, { cwd, stdio: 'inherit', shell: process.platform === 'win32' });
  return error ? 127 : (status ?? 1);
};

if (run('npm', ['ci', '--no-audit', '--no-fund'], peers) !== 0) process.exit(1);
const python = process.env.PYTHON || 'python3';
// Since 2.5 the exporter is asked for by name.
const needs = `
import torch, onnx
version = torch.__version__
assert tuple(map(int, version.split('.')[:2])) >= (2, 5), version
`;
if (run(python, ['-c', needs], peers) !== 0) {
  console.error(
    `bench:peers: expected a Python with torch, 2.5 or newer, and onnx, got ${python}; ` +
      `run: ${python} -m pip install torch onnx onnxscript, or name another in PYTHON`,
  );
  process.exit(1);
}
const graphs = join(root, '.cache', 'bench', 'graphs');
process.exit(run(python, ['export.py', '--out', graphs, ...process.argv.slice(2)], peers));
