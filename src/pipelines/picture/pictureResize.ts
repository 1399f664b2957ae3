/** Pictures to another size, on the GPU, between two networks. */
import type { Device, Graph, Tensor } from '../../engine/index.ts';
import { fromNchw, toNchw } from '../../kernels/index.ts';
import { resizeAntialias } from '../../kernels/resizeAntialias.ts';
import { resizeBilinear } from '../../kernels/resizeBilinear.ts';
import { ModelRuntime, type ModelOutput, type RunOptions, type TensorInput } from '../../models/modelRuntime.ts';

/** How. */
const METHODS = {
  /** PyTorch's `bicubic` with `antialias`: unCLIP. */
  bicubic: (x: Tensor, height: number, width: number) => resizeAntialias(x, { height, width }),
  /** PyTorch's `bilinear` whose outermost pixels stay where they are: DeepFloyd IF. */
  bilinear: (x: Tensor, height: number, width: number) => resizeBilinear(x, { height, width, alignCorners: true }),
};

/** Nothing to load. */
const NO_WEIGHTS = {
  name: 'resize',
  keys: () => [],
  info: () => undefined,
  read: () => Promise.resolve(new Float32Array()),
};

/** Resizes on one device; programs are kept by size. */
export class PictureResize {
  readonly weightBytes = 0;
  private readonly runtime: ModelRuntime;

  constructor(
    device: Device,
    private readonly method: keyof typeof METHODS,
  ) {
    this.runtime = new ModelRuntime('resize', device, NO_WEIGHTS);
  }

  /**
   * x [B,C,H,W] → [B,C,height,width], valid until the next call.
   * @throws InvalidArgumentError after {@link dispose} or for a bad size; LimitError, OutOfMemoryError,
   * DeviceLostError, AbortedError
   */
  run({ data, shape }: TensorInput, height: number, width: number, options: RunOptions = {}): Promise<ModelOutput> {
    const build = (g: Graph) => {
      const x = fromNchw(g.input('x', shape)); // [B,H,W,C]
      g.output('out', toNchw(METHODS[this.method](x, height, width))); // [B,C,height,width]
    };
    return this.runtime.call(`${shape.join()} ${height} ${width}`, build, { x: data }, options);
  }

  /** Releases the programs. */
  dispose(): void {
    this.runtime.dispose();
  }
}
