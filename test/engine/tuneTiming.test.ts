import { describe, expect, it } from 'vitest';
import { proven } from '../../src/engine/tuneTiming.ts';

/** Compares anew by true times, and keeps who was compared. */
function truth(times: Record<string, number>) {
  const asked: string[] = [];
  const again = async (way: string) => {
    asked.push(way);
    return times[way] / times.usual;
  };
  return { asked, again };
}

describe('a way that seems faster than the usual one', () => {
  it('has to be so again: one that was lucky is not', async () => {
    const { asked, again } = truth({ usual: 10, lucky: 12 });
    expect(await proven({ usual: 10, lucky: 7, slow: 11 }, 'usual', again)).toEqual({ usual: 10, lucky: 12, slow: 11 });
    expect(asked).toEqual(['lucky']);
  });

  it('replaces it where it is, and who seemed slower is not asked', async () => {
    const { asked, again } = truth({ usual: 10, fast: 8 });
    expect(await proven({ usual: 10, other: 9, fast: 7 }, 'usual', again)).toEqual({ usual: 10, other: 9, fast: 8 });
    expect(asked).toEqual(['fast']);
  });

  it('leaves the place to the next one, if that could be faster than what is proven', async () => {
    const { asked, again } = truth({ usual: 10, lucky: 9.6, fast: 8 });
    const found = await proven({ usual: 10, lucky: 7, fast: 8.5, near: 9.8 }, 'usual', again);
    expect(found).toEqual({ usual: 10, lucky: 9.6, fast: 8, near: 9.8 });
    expect(asked).toEqual(['lucky', 'fast']);
  });

  it('is not looked at where it is within the margin', async () => {
    const { asked, again } = truth({ usual: 10 });
    expect(await proven({ usual: 10, near: 9.8 }, 'usual', again)).toEqual({ usual: 10, near: 9.8 });
    expect(asked).toEqual([]);
  });

  it('is not known to be faster when time runs out', async () => {
    expect(await proven({ usual: 10, fast: 5 }, 'usual', async () => undefined)).toBeUndefined();
  });
});
