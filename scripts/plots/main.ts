/** Draws every plot of docs/samplers.md and fills its tables. Arguments: names of plots, or `tables`; none is all. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { draw } from './draw.ts';
import { ERROR_PLOTS } from './errors.ts';
import { SCHEDULE_PLOTS } from './schedules.ts';
import { fillTables } from './tables.ts';
import { TRAJECTORY_PLOTS } from './trajectories.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

export async function main(names: readonly string[]): Promise<void> {
  const plots = { ...ERROR_PLOTS, ...TRAJECTORY_PLOTS, ...SCHEDULE_PLOTS };
  for (const [name, spec] of Object.entries(plots)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const file = join('docs', 'images', 'samplers', `${name}.svg`);
    const bytes = await draw(await spec(), join(root, file));
    console.log(`${file}: ${(bytes / 1024).toFixed(0)} KB`);
  }
  if (names.length > 0 && !names.includes('tables')) return;
  await fillTables(join(root, 'docs', 'samplers.md'));
  console.log(`${join('docs', 'samplers.md')}: tables`);
}
