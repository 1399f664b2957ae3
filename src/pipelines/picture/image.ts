/** What a pipeline gives back: a picture on the GPU that goes to a canvas, a blob or plain numbers when asked. */
import { InvalidArgumentError, NonFiniteError, UnsupportedError, type Device } from '../../engine/index.ts';
import { present } from './present.ts';

/** A buffer of several pictures; it is released when the last of them is disposed of. */
class SharedBuffer {
  private users = 0;

  constructor(
    readonly device: Device,
    readonly buffer: GPUBuffer,
  ) {}

  take(): this {
    this.users++;
    return this;
  }

  release(): void {
    if (--this.users === 0) this.device.destroyBuffer(this.buffer);
  }
}

/** One picture [3, H, W]; values −1 … 1 on the GPU, clamped on the way out. */
export class GeneratedImage {
  private disposed = false;

  private constructor(
    private readonly shared: SharedBuffer,
    private readonly index: number,
    /** Pixels. */
    readonly width: number,
    readonly height: number,
  ) {}

  /** The pictures of a dense f32 buffer [B, 3, H, W], which they own from here on. */
  static all(device: Device, buffer: GPUBuffer, batch: number, width: number, height: number): GeneratedImage[] {
    const shared = new SharedBuffer(device, buffer);
    return Array.from({ length: batch }, (_, i) => new GeneratedImage(shared.take(), i, width, height));
  }

  /** Draws onto a canvas of the same device's page, GPU to GPU; the canvas takes the picture's size. */
  async toCanvas(canvas: HTMLCanvasElement | OffscreenCanvas): Promise<void> {
    this.alive();
    const { device, buffer } = this.shared;
    present(device, canvas, buffer, this.index * 3 * this.width * this.height, this.width, this.height);
  }

  /** Red, green and blue planes [3, H, W] in 0 … 1. @throws NonFiniteError in place of a black picture */
  async toTensor(): Promise<Float32Array> {
    return (await this.toPlanes()).map((v) => Math.min(1, Math.max(0, v * 0.5 + 0.5)));
  }

  /** The planes [3, H, W] as the decoder gave them, about −1 … 1. @throws NonFiniteError in place of a black picture */
  async toPlanes(): Promise<Float32Array> {
    this.alive();
    const { device, buffer } = this.shared;
    const count = 3 * this.width * this.height;
    const values = new Float32Array(await device.read(buffer, 4 * count, 4 * count * this.index));
    const bad = values.findIndex((v) => !Number.isFinite(v));
    if (bad < 0) return values;
    throw new NonFiniteError(`image: the decoder gave ${values[bad]} at element ${bad}; use dtype: 'f32'`, 'decoder');
  }

  /** Rows of RGBA bytes, alpha 255. */
  async toRgba(): Promise<Uint8ClampedArray<ArrayBuffer>> {
    const planes = await this.toTensor();
    const plane = this.width * this.height;
    const rgba = new Uint8ClampedArray(4 * plane);
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) rgba[4 * i + c] = Math.round(255 * planes[c * plane + i]);
      rgba[4 * i + 3] = 255;
    }
    return rgba;
  }

  /** @throws UnsupportedError where the platform has no ImageData (Node); use toRgba there. */
  async toImageData(): Promise<ImageData> {
    if (typeof ImageData === 'undefined') {
      throw new UnsupportedError('toImageData: expected a browser, got a platform without ImageData; use toRgba');
    }
    return new ImageData(await this.toRgba(), this.width, this.height);
  }

  /**
   * An encoded picture file. @throws UnsupportedError where there is no OffscreenCanvas (Node); use saveImage there.
   */
  async toBlob(type = 'image/png'): Promise<Blob> {
    if (typeof OffscreenCanvas === 'undefined') {
      throw new UnsupportedError(
        'toBlob: expected OffscreenCanvas, got none; use toRgba, or saveImage of daguerre/node',
      );
    }
    const canvas = new OffscreenCanvas(this.width, this.height);
    canvas.getContext('2d')!.putImageData(await this.toImageData(), 0, 0);
    return canvas.convertToBlob({ type });
  }

  /** Gives the GPU memory back; idempotent. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.shared.release();
  }

  private alive(): void {
    if (this.disposed) throw new InvalidArgumentError('image: expected a live picture, got one that was disposed of');
  }
}
