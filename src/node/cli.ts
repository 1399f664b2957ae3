#!/usr/bin/env node
import { main } from './cli/main.ts';
import { processTerminal } from './cli/terminal.ts';

// A reader that has seen enough (`daguerre doctor | head -1`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const status = await main(process.argv.slice(2), processTerminal());
// A pipe may still hold lines; Dawn's threads never end on their own, so the exit has to be explicit.
await new Promise<void>((written) => process.stdout.write('', () => written()));
process.exit(status);
