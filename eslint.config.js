import js from '@eslint/js';
import importX, { createNodeResolver } from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

/**
 * Imports go one way (docs/design.md): engine ← kernels ← models ← pipelines; loading → engine; sampler stands free.
 */
const rooms = {
  engine: [],
  kernels: ['engine'],
  loading: ['engine'],
  models: ['engine', 'kernels', 'loading'],
  sampler: [],
  pipelines: ['engine', 'kernels', 'models', 'loading', 'sampler'],
};
const all = [...Object.keys(rooms), 'node'];
const zones = Object.entries(rooms).map(([room, may]) => ({
  target: `./src/${room}`,
  from: all.filter((other) => other !== room && !may.includes(other)).map((other) => `./src/${other}`),
  ...(room === 'sampler' ? { except: [] } : {}),
}));
// Typed errors are the one thing of the engine that the sampler may name.
const samplerZone = zones.find((z) => z.target === './src/sampler');
samplerZone.from = samplerZone.from.filter((f) => f !== './src/engine');
const engineButErrors = { target: './src/sampler', from: './src/engine', except: ['./errors.ts'] };
delete samplerZone.except;

export default tseslint.config(
  { ignores: ['dist', 'node_modules', '.cache', '.bench', 'test/fixtures', 'weights', 'training'] },
  js.configs.recommended,
  ...tseslint.configs.recommended,
  {
    plugins: { 'import-x': importX },
    settings: {
      'import-x/resolver-next': [createNodeResolver({ extensions: ['.ts', '.js', '.mjs'] })],
      'import-x/extensions': ['.ts', '.js', '.mjs'],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
    },
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { zones: [...zones, engineButErrors] }],
      eqeqeq: ['error', 'smart'],
      // Prettier breaks code, not comments. Code may be longer, where it cannot be broken.
      'max-len': ['error', { code: 10_000, comments: 120, ignoreUrls: true }],
    },
  },
  {
    files: ['**/*.mjs', '**/*.cjs', '*.js'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', module: 'writable' } },
  },
  // Browser-safe rooms: no Node built-ins.
  {
    files: ['src/{engine,kernels,models,loading,sampler,pipelines}/**', 'src/index.ts'],
    rules: { 'no-restricted-imports': ['error', { patterns: ['node:*'] }] },
  },
);
