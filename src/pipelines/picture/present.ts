/** A picture from a GPU buffer to a canvas, without reading it back. */
import { AdapterError, hoistDirectives, packParams, type Device } from '../../engine/index.ts';
import shader from '../../kernels/present.wgsl';

interface Presenter {
  pipeline: GPURenderPipeline;
  format: GPUTextureFormat;
}

const presenters = new WeakMap<Device, Presenter>();
const configured = new WeakMap<HTMLCanvasElement | OffscreenCanvas, Device>();

function presenterOf(device: Device): Presenter {
  let presenter = presenters.get(device);
  if (!presenter) {
    const format = globalThis.navigator?.gpu?.getPreferredCanvasFormat() ?? 'rgba8unorm';
    const module = device.gpu.createShaderModule({ code: hoistDirectives(shader.code), label: 'present' });
    const pipeline = device.gpu.createRenderPipeline({
      label: 'present',
      layout: 'auto',
      vertex: { module, entryPoint: 'vertex' },
      fragment: { module, entryPoint: 'fragment', targets: [{ format }] },
    });
    presenters.set(device, (presenter = { pipeline, format }));
  }
  return presenter;
}

/**
 * Draws the picture that starts at element `first` of `buffer` ([3, H, W] dense f32, −1 … 1) onto a canvas, which takes
 * the picture's size.
 * @throws AdapterError when the canvas gives no WebGPU context (it already has one of another kind).
 */
export function present(
  device: Device,
  canvas: HTMLCanvasElement | OffscreenCanvas,
  buffer: GPUBuffer,
  first: number,
  width: number,
  height: number,
): void {
  device.check();
  const { pipeline, format } = presenterOf(device);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext('webgpu') as GPUCanvasContext | null;
  if (!context) {
    throw new AdapterError(
      'toCanvas: expected a WebGPU context, got none; use a canvas that no 2D context was taken from',
    );
  }
  if (configured.get(canvas) !== device) {
    context.configure({ device: device.gpu, format, alphaMode: 'opaque' });
    configured.set(canvas, device);
  }
  const block = packParams(shader, { width, height, first });
  const params = device.gpu.createBuffer({
    label: 'present',
    size: block.byteLength,
    usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
  });
  device.gpu.queue.writeBuffer(params, 0, block);
  const bindGroup = device.gpu.createBindGroup({
    label: 'present',
    layout: pipeline.getBindGroupLayout(0),
    entries: [
      { binding: 0, resource: { buffer } },
      { binding: 1, resource: { buffer: params } },
    ],
  });
  const encoder = device.gpu.createCommandEncoder({ label: 'present' });
  const pass = encoder.beginRenderPass({
    label: 'present',
    colorAttachments: [{ view: context.getCurrentTexture().createView(), loadOp: 'clear', storeOp: 'store' }],
  });
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  pass.draw(3);
  pass.end();
  device.gpu.queue.submit([encoder.finish()]);
  params.destroy();
}
