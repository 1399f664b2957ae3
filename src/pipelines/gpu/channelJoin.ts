/** The state and a picture behind each other in the channels: how networks are shown what they are to enlarge. */
import type { Vec } from '../../sampler/vec.ts';
import type { GpuSpace } from './gpuSpace.ts';

/**
 * Joins vectors [B,Cᵢ,h,w] to one dense [B,ΣCᵢ,h,w] of `length` elements, in one buffer of the space, which the next
 * call writes over. Make it before the run begins, so that no step takes the buffer.
 */
export function channelJoin(space: GpuSpace, batch: number, length: number): (parts: readonly Vec[]) => GPUBuffer {
  const joined = space.vec(new Float32Array(length), batch).buffer;
  return (parts) => {
    const own = parts.map((v) => space.contiguous(v));
    const encoder = space.device.gpu.createCommandEncoder({ label: 'join channels' });
    let at = 0;
    for (const { buffer, item } of own) {
      for (let b = 0; b < batch; b++) {
        encoder.copyBufferToBuffer(buffer, 4 * b * item, joined, 4 * ((b * length) / batch + at), 4 * item);
      }
      at += item;
    }
    space.device.gpu.queue.submit([encoder.finish()]);
    return joined;
  };
}
