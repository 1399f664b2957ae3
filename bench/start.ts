/** The bench as a program, where no script builds it first. */
import { start } from './main.ts';

await start();
