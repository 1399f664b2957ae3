/** Pictures as CLIP's encoder reads them, and their embeddings. */
import { ConfigError, formatShape, InvalidArgumentError, numel, type Device } from '../../engine/index.ts';
import { readConfig, type Directory } from '../../loading/index.ts';
import type { LoadOptions, RunOptions, TensorInput } from '../../models/index.ts';
import {
  processClipImage,
  readClipImageProcessorConfig,
  type BytePicture,
  type ClipImageProcessorConfig,
} from '../../models/imageEncoders/clipImageProcessor.ts';
import { CLIPVisionModelWithProjection } from '../../models/imageEncoders/clipVisionModel.ts';
import type { Owner } from '../run/basePipeline.ts';
import { planesOf, type ImageInput } from '../picture/imageInput.ts';
import type { UnclipVariationOptions } from './options.ts';

/** A picture encoder, and how pictures are made ready for it. */
export interface UnclipPictureEncoder {
  model: CLIPVisionModelWithProjection;
  processor: ClipImageProcessorConfig;
}

/** Embeddings [N,E] on the host. */
export interface Embeddings {
  data: Float32Array;
  shape: readonly [number, number];
}

/**
 * Opens `image_encoder/` and `feature_extractor/`.
 * @throws NotFoundError, FormatError, ConfigError for a processor whose pictures the encoder does not take,
 * WeightError, OutOfMemoryError, AbortedError
 */
export async function openUnclipPictures(
  device: Device,
  directory: Directory,
  load: LoadOptions,
  own: Owner,
): Promise<UnclipPictureEncoder> {
  const file = { file: 'preprocessor_config.json', signal: load.signal };
  const processor = readClipImageProcessorConfig(
    await readConfig(directory.folder('feature_extractor'), undefined, file),
  );
  const model = await own(CLIPVisionModelWithProjection.load(device, directory.folder('image_encoder'), load));
  const side = model.config.imageSize;
  const made = processor.cropSize ?? (typeof processor.size === 'object' ? processor.size : null);
  if (!made || made.some((n) => n !== side)) {
    throw new ConfigError(
      `${directory.name}: expected a feature_extractor/ that makes pictures of ${side}×${side} as image_encoder/ reads, got ` +
        `${made?.join('×') ?? 'any size'}; take both from one pipeline`,
      'crop_size',
    );
  }
  return { model, processor };
}

/**
 * The embeddings of a call's pictures, one each.
 * @throws InvalidArgumentError unless exactly one of image, pixelValues and imageEmbeddings is given, in a shape that
 * fits
 */
export async function unclipEmbeddings(
  { model, processor }: UnclipPictureEncoder,
  { image, pixelValues, imageEmbeddings, signal, checkFinite }: UnclipVariationOptions,
  onProgress: RunOptions['onProgress'],
): Promise<Embeddings> {
  const given = Object.entries({ image, pixelValues, imageEmbeddings }).filter(([, value]) => value !== undefined);
  if (given.length !== 1) {
    const names = given.map(([name]) => name).join(' and ') || 'none';
    throw new InvalidArgumentError(`generate: expected one of image, pixelValues and imageEmbeddings, got ${names}`);
  }
  const E = model.config.projectionDim;
  if (imageEmbeddings) return givenEmbeddings(imageEmbeddings, E);
  const out = await model.forward({
    pixelValues: pixelValues ?? processed(processor, image!),
    signal,
    checkFinite,
    onProgress,
  });
  return { data: await out.imageEmbeds.read(), shape: [out.imageEmbeds.shape[0], E] };
}

function givenEmbeddings({ data, shape }: TensorInput, E: number): Embeddings {
  if (shape.length === 2 && shape[1] === E && data instanceof Float32Array && data.length === numel(shape)) {
    return { data, shape: [shape[0], E] };
  }
  throw new InvalidArgumentError(
    `generate: expected imageEmbeddings [N,${E}] on the host, got ${formatShape(shape)}; ask the picture encoder for them`,
  );
}

/** Pictures → what the encoder reads, [N,3,side,side]. */
function processed(
  processor: ClipImageProcessorConfig,
  image: ImageInput | readonly ImageInput[],
): TensorInput & { data: Float32Array } {
  const list: readonly ImageInput[] = Array.isArray(image) ? (image as readonly ImageInput[]) : [image as ImageInput];
  const pictures = list.flatMap(bytesOf).map((picture) => processClipImage(processor, picture));
  if (pictures.length === 0) throw new InvalidArgumentError('generate: expected image to be one or several, got none');
  const [, height, width] = pictures[0].shape;
  const data = new Float32Array(pictures.length * pictures[0].data.length);
  pictures.forEach((picture, i) => data.set(picture.data, i * picture.data.length));
  return { data, shape: [pictures.length, 3, height, width] };
}

/** Each picture as bytes: processors work on these. */
function bytesOf(image: ImageInput): BytePicture[] {
  const { data, shape } = planesOf('image', image, 3, [-1, 1]);
  const [B, , height, width] = shape;
  const plane = height * width;
  return Array.from({ length: B }, (_, b) => ({
    height,
    width,
    data: Uint8Array.from({ length: 3 * plane }, (_, i) => {
      const value = data[(3 * b + (i % 3)) * plane + Math.floor(i / 3)];
      return Math.min(255, Math.max(0, Math.round((value + 1) * 127.5)));
    }),
  }));
}
