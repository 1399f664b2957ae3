/** From dispatches to dispatches with places: which tensors share memory, and where the rest lies. */
import type { Capabilities } from './device.ts';
import { workInPlace, type Thrift } from './inPlace.ts';
import type { Dispatch } from './lower.ts';
import { planMemory, type MemoryPlan } from './plan.ts';
import { bindForWriting } from './writableInputs.ts';

/**
 * A plan may exceed what is alive at once by this share; by more on processors, where the pipelines that a tighter plan
 * takes are slow to compile.
 */
const [WASTE, SOFTWARE_WASTE] = [0.05, 0.15];
/** Where no plan keeps to that: shares of the remaining waste to accept, tried one after the other. */
const PARTS = [0, 1 / 4, 1 / 2];
/** Bytes that are not worth another pipeline. */
const LITTLE = 2 ** 20;

/**
 * The plan that takes least of what is tried: results in the memory of their operands wherever that can be, or only
 * where memory is short; and if both waste too much, dispatches that write beside what they read.
 * @param pinned ids of tensors whose memory is not planned.
 * @throws LimitError when a single tensor does not fit a buffer.
 */
export function layOut(
  lowered: readonly Dispatch[],
  pinned: ReadonlySet<number>,
  { limits, software }: Capabilities,
): { dispatches: Dispatch[]; plan: MemoryPlan } {
  const tried = [];
  let most = Infinity;
  for (const thrift of ['everywhere', 'at the peak'] satisfies Thrift[]) {
    const { dispatches, within } = workInPlace(lowered, pinned, limits.minStorageBufferOffsetAlignment, thrift);
    const plan = planMemory(dispatches, pinned, limits, within);
    most = Math.min(most, plan.liveBytes * (1 + (software ? SOFTWARE_WASTE : WASTE)));
    if (plan.peakBytes <= Math.max(most, plan.liveBytes + LITTLE)) return { dispatches, plan };
    tried.push({ dispatches, plan });
  }
  // Where no plan is that small, part of the waste is still better than all of it.
  const [least] = tried.sort((a, b) => a.plan.peakBytes - b.plan.peakBytes);
  for (const part of PARTS) {
    const bytes = most + part * (least.plan.peakBytes - most);
    const tighter = tried.flatMap(({ dispatches, plan }) => {
      const found = plan.peakBytes > bytes ? plan.within(bytes) : undefined;
      return found ? [{ dispatches, ...found }] : [];
    });
    const [best] = tighter.sort((a, b) => a.cost - b.cost);
    if (best) return { dispatches: bindForWriting(best.dispatches, best.plan), plan: best.plan };
  }
  return least;
}
