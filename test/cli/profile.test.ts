import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { profileCommand } from '../../src/node/cli/profile.ts';
import { listener } from './listener.ts';

it('prints a table per part and writes a trace that Chrome can read', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'daguerre-profile-'));
  try {
    const terminal = listener();
    const trace = join(folder, 'trace.json');
    expect(
      await profileCommand('weights/emoji', { batch: 1, dtype: 'f32', adapter: 'lavapipe', trace }, terminal),
    ).toBe(0);
    expect(terminal.results.join('\n')).toMatch(/unet\n[^]*conv2d\w* +[\d.]+ +[\d.]+%[^]*decoder\n[^]*groupNorm\w+/);
    const { traceEvents } = JSON.parse(readFileSync(join(folder, 'trace-unet.json'), 'utf8')) as {
      traceEvents: { name: string; ph: string; ts: number; dur: number }[];
    };
    expect(traceEvents.length).toBeGreaterThan(100);
    expect(traceEvents.every((e) => e.ph === 'X' && e.dur >= 0 && Number.isFinite(e.ts))).toBe(true);
    expect(traceEvents.some((e) => e.name.startsWith('mid_block'))).toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
