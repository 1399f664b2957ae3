/** `daguerre profile`: where the time of a step and of the decoder goes, as tables and as a Chrome trace. */
import { chromeTrace, describe, profileTable, type Profile } from '../../engine/index.ts';
import { Pipeline } from '../index.ts';
import { writeWhole } from '../png.ts';
import { EXIT } from './exit.ts';
import type { Terminal } from './terminal.ts';

export interface ProfileOptions {
  batch: number;
  width?: number;
  height?: number;
  dtype: 'auto' | 'f32' | 'f16';
  adapter?: string;
  /** Larger buffers and bindings: where the adapter is hardware, or never; default `auto`. */
  limits?: 'auto' | 'default';
  /** Chrome traces are written to `NAME-unet.json` and `NAME-decoder.json`. */
  trace?: string;
}

/** Loads the model, runs each part once to warm up and once timed. @returns the exit status */
export async function profileCommand(model: string, options: ProfileOptions, terminal: Terminal): Promise<number> {
  const { batch: batchSize, width, height, dtype, adapter, limits = 'auto', trace } = options;
  const pipe = await Pipeline.fromPretrained(model, { dtype, adapter, limits });
  try {
    const parts: Record<string, Profile> = await pipe.profile({ batchSize, width, height });
    terminal.out(`${describe(pipe.device.info)}, ${dtype}`);
    for (const [name, profile] of Object.entries(parts)) {
      // Where latents are pixels there is no decoder.
      if (profile.rows.length === 0) continue;
      terminal.out(`\n${name}\n${profileTable(profile)}`);
      if (trace) terminal.out(await writeWhole(`${trace.replace(/\.json$/, '')}-${name}.json`, chromeTrace(profile)));
    }
  } finally {
    await pipe.dispose();
  }
  return EXIT.ok;
}
