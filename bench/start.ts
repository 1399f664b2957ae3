/** The bench as a program, where no script builds it first: `start.js all …` or `start.js …`. */
import { start } from './main.ts';

const [first, ...rest] = process.argv.slice(2);
await (first === 'all' ? start('all', rest) : start());
