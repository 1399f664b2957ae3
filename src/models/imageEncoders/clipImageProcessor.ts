/**
 * Pictures as CLIP's encoder wants them: `CLIPImageProcessor` of transformers, every field of it that bears on the
 * result.
 */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { resizeBytes, type Resampling } from './resizeBytes.ts';

/** The fields of `preprocessor_config.json` in camelCase, defaults filled in. */
export interface ClipImageProcessorConfig {
  /** Null: pictures keep their size. A number is that of the shorter edge. */
  size: number | readonly [height: number, width: number] | null;
  resample: Resampling;
  /** Null: nothing is cut off. */
  cropSize: readonly [height: number, width: number] | null;
  /** On bytes. */
  rescaleFactor: number;
  /** Per channel. */
  mean: readonly number[];
  std: readonly number[];
}

/** A picture of bytes, [H,W,3]. */
export interface BytePicture {
  data: Uint8Array;
  height: number;
  width: number;
}

const MEAN = [0.48145466, 0.4578275, 0.40821073];
const STD = [0.26862954, 0.26130258, 0.27577711];

/** What says who wrote the file, or how pictures came to be bytes. */
const NO_CHANGE = ['do_convert_rgb', 'feature_extractor_type', 'image_processor_type', 'processor_class'];

/** Reads `preprocessor_config.json`. @throws ConfigError naming the field. */
export function readClipImageProcessorConfig(raw: RawConfig): ClipImageProcessorConfig {
  const name = 'CLIPImageProcessor';
  const cfg = new ConfigReader(withSizes(raw), name);
  const crop = cfg.bool('do_center_crop', true);
  const [cropHeight, cropWidth] = cfg.intPerLevel('crop_size', 2, 224, { min: 1 });
  const resize = cfg.bool('do_resize', true);
  const edge = cfg.has('shortest_edge') ? cfg.int('shortest_edge', undefined, { min: 1 }) : null;
  const [height, width] = cfg.intPerLevel('size', 2, 224, { min: 1 });
  const code = cfg.int('resample', 3);
  if (resize && code !== 2 && code !== 3) cfg.refuse('resample', '2 (bilinear) or 3 (bicubic)');
  const rescale = cfg.bool('do_rescale', true);
  const factor = cfg.number('rescale_factor', 1 / 255);
  const normalise = cfg.bool('do_normalize', true);
  const [mean, std] = [
    cfg.numberArray('image_mean', MEAN, { length: 3 }),
    cfg.numberArray('image_std', STD, { length: 3 }),
  ];
  if (std.includes(0)) cfg.refuse('image_std', 'numbers other than 0');
  cfg.ignored(NO_CHANGE);
  cfg.done();
  // A size of one number is that of the shorter edge, as is `{ shortest_edge }`.
  const shorter = edge ?? (typeof raw['size'] === 'object' ? null : height);
  return {
    size: resize ? (shorter ?? [height, width]) : null,
    resample: code as Resampling,
    cropSize: crop ? [cropHeight, cropWidth] : null,
    rescaleFactor: rescale ? factor : 1,
    mean: normalise ? mean : [0, 0, 0],
    std: normalise ? std : [1, 1, 1],
  };
}

/** `{ height, width }` as a pair, `{ shortest_edge }` under its own name. */
function withSizes(raw: RawConfig): RawConfig {
  const fields: Record<string, unknown> = { ...raw };
  for (const name of ['size', 'crop_size']) {
    const given = fields[name];
    if (typeof given !== 'object' || given === null || Array.isArray(given)) continue;
    const { height, width, shortest_edge: edge, ...others } = given as Record<string, unknown>;
    if (Object.keys(others).length > 0) continue; // the reader refuses what it does not understand
    delete fields[name];
    if (edge !== undefined && name === 'size') fields.shortest_edge = edge;
    else fields[name] = edge === undefined ? [height, width] : edge;
  }
  return fields;
}

/** A picture → planes [3,H,W] for the encoder. */
export function processClipImage(
  { size, resample, cropSize, rescaleFactor, mean, std }: ClipImageProcessorConfig,
  picture: BytePicture,
): { data: Float32Array; shape: readonly [3, number, number] } {
  const from = [picture.height, picture.width] as const;
  const [H, W] = size === null ? from : typeof size === 'number' ? scaledTo(size, from) : size;
  const bytes = resizeBytes(picture.data, from, [H, W], resample);
  const [height, width] = cropSize ?? [H, W];
  const [top, left] = [startOf(H, height), startOf(W, width)];
  const plane = height * width;
  const data = Float32Array.from({ length: 3 * plane }, (_, i) => {
    const [c, y, x] = [Math.floor(i / plane), Math.floor((i % plane) / width) + top, (i % width) + left];
    const value = y < 0 || x < 0 || y >= H || x >= W ? 0 : bytes[(y * W + x) * 3 + c];
    return (Math.fround(value * rescaleFactor) - mean[c]) / std[c];
  });
  return { data, shape: [3, height, width] };
}

/** The shorter edge as given, the other in proportion, rounded down. */
function scaledTo(edge: number, [H, W]: readonly [number, number]): readonly [number, number] {
  return H <= W ? [edge, Math.floor((edge * W) / H)] : [Math.floor((edge * H) / W), edge];
}

/** Where a cut begins; below 0 where zeros come first, one more than behind for an odd difference. */
function startOf(length: number, wanted: number): number {
  return wanted <= length ? Math.floor((length - wanted) / 2) : -Math.ceil((wanted - length) / 2);
}
