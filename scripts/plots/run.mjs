/**
 * `npm run plots`: writes docs/images/samplers. Plain JavaScript, because Node 20 runs no TypeScript; vite reads it.
 */
import { join } from 'node:path';
import { runnerImport } from 'vite';

const main = join(import.meta.dirname, 'main.ts');
const { module } = await runnerImport(main, { configFile: false, logLevel: 'warn' });
await module.main(process.argv.slice(2));
