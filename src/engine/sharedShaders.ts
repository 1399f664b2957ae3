/**
 * Dispatches that go by the shader of others. Where a switch changes nothing for a dispatch, since nothing is bound to
 * what it adds and parameters say so, a shader that has it on serves as well as one that has it off. It costs a few per
 * cent of their time in every run, and saves a driver on a processor the translation of a second shader, once: so it
 * serves those that do little.
 */
import type { Kernel } from './kernel.ts';
import type { Dispatch } from './lower.ts';

/** Floating-point operations of a run beyond which dispatches keep a shader of their own: 20 ms at 50 GFLOP/s. */
const LITTLE = 1e9;

/** What one shader serves. */
type Served = readonly [Dispatch, ...Dispatch[]];

/** The same dispatches, by fewer shaders where `either` allows that and another dispatch has the switches on. */
export function shareShaders(dispatches: readonly Dispatch[]): Dispatch[] {
  const served = new Map<Kernel, Map<string, Served>>();
  for (const d of dispatches) {
    const same = served.get(d.kernel) ?? new Map<string, Served>();
    served.set(d.kernel, same);
    same.set(textOf(d), [...(same.get(textOf(d)) ?? []), d] as unknown as Served);
  }
  return dispatches.map((d) => {
    if (!d.either?.length) return d;
    const same = served.get(d.kernel)!;
    const mine = same.get(textOf(d))!;
    if (mine.reduce((sum, { flops }) => sum + flops, 0) > LITTLE) return d;
    const able = [...same.values()].map(([other]) => other).filter((other) => canServe(other, mine));
    const [best] = able.sort((a, b) => on(b) - on(a));
    return best ? { ...d, tunables: best.tunables } : d;
  });
}

/** Tells the shaders of a kernel apart. */
function textOf({ storage, tunables }: Dispatch): string {
  return `${storage} ${JSON.stringify(tunables)}`;
}

/** Whether the shader of `other` differs in switches only that it has on and that are of no matter to any of `mine`. */
function canServe(other: Dispatch, mine: Served): boolean {
  const free = (name: string) => other.tunables[name] === true && mine.every((d) => d.either?.includes(name));
  const [{ storage, tunables }] = mine;
  return other.storage === storage && Object.keys(tunables).every((k) => tunables[k] === other.tunables[k] || free(k));
}

function on({ tunables }: Dispatch): number {
  return Object.values(tunables).filter((value) => value === true).length;
}
