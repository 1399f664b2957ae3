import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, Page } from 'puppeteer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { browserArguments, findBrowser, launchBrowser } from '../../src/node/browser.ts';

let server: Server;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  // WebGPU is for secure contexts, and 127.0.0.1 is one.
  server = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>test</title><canvas width="64" height="64"></canvas>');
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  browser = await launchBrowser();
  page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
}, 600_000);

afterAll(async () => {
  await browser?.close();
  server?.close();
});

describe('headless Chromium', () => {
  test('has a WebGPU adapter, SwiftShader', async () => {
    const info = await page.evaluate(async () => {
      const adapter = await navigator.gpu.requestAdapter();
      return adapter && { vendor: adapter.info.vendor, architecture: adapter.info.architecture };
    });
    expect(info).toEqual({ vendor: 'google', architecture: 'swiftshader' });
  });

  test('computes', async () => {
    const got = await page.evaluate(async () => {
      const device = await (await navigator.gpu.requestAdapter())!.requestDevice();
      const code = `@group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3u) { y[id.x] = 7u * id.x; }`;
      const module = device.createShaderModule({ code });
      const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
      const y = device.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
      const read = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
      const layout = pipeline.getBindGroupLayout(0);
      const bindings = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer: y } }] });
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindings);
      pass.dispatchWorkgroups(1);
      pass.end();
      encoder.copyBufferToBuffer(y, 0, read, 0, 16);
      device.queue.submit([encoder.finish()]);
      await read.mapAsync(GPUMapMode.READ);
      const result = [...new Uint32Array(read.getMappedRange())];
      device.destroy();
      return result;
    });
    expect(got).toEqual([0, 7, 14, 21]);
  });

  test('presents a WebGPU canvas for a second without losing the device', async () => {
    const { lost, frames } = await page.evaluate(async () => {
      const device = await (await navigator.gpu.requestAdapter())!.requestDevice();
      let lost = '';
      void device.lost.then((why) => (lost = why.message || why.reason));
      const context = document.querySelector('canvas')!.getContext('webgpu')!;
      context.configure({ device, format: navigator.gpu.getPreferredCanvasFormat() });
      let frames = 0;
      const until = performance.now() + 1000;
      while (performance.now() < until && !lost) {
        await new Promise((frame) => requestAnimationFrame(frame));
        const encoder = device.createCommandEncoder();
        const view = context.getCurrentTexture().createView();
        const attachment = { view, loadOp: 'clear', storeOp: 'store', clearValue: [1, 0.5, 0, 1] } as const;
        encoder.beginRenderPass({ colorAttachments: [attachment] }).end();
        device.queue.submit([encoder.finish()]);
        frames++;
      }
      return { lost, frames };
    });
    expect(lost).toBe('');
    expect(frames).toBeGreaterThan(1);
  });

  test('shows on a screenshot what the canvas presents', async () => {
    const canvas = (await page.$('canvas'))!;
    const png = Buffer.from(await canvas.screenshot({ encoding: 'base64' }), 'base64');
    const colour = await page.evaluate(async (data) => {
      const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob());
      const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')!;
      context.drawImage(bitmap, 0, 0);
      return [...context.getImageData(bitmap.width / 2, bitmap.height / 2, 1, 1).data];
    }, png.toString('base64'));
    expect(colour).toEqual([255, 128, 0, 255]);
  });
});

test('a browser named by a variable that does not exist is a typed error', async () => {
  process.env.DAGUERRE_CHROMIUM = '/nowhere/chromium';
  try {
    await expect(findBrowser()).rejects.toThrow(/DAGUERRE_CHROMIUM names \/nowhere\/chromium/);
  } finally {
    delete process.env.DAGUERRE_CHROMIUM;
  }
});

test('hardware leaves out every SwiftShader flag', () => {
  expect(browserArguments(true).join(' ')).not.toMatch(/swiftshader/);
});
