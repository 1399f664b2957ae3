export { Checkpoint, type CheckpointOptions, type ReadOptions, type TensorInfo } from './checkpoint.ts';
export {
  checkClass,
  configClass,
  findWeights,
  openWeights,
  readConfig,
  readModelIndex,
  type ComponentEntry,
  type ConfigQuery,
  type FoundWeights,
  type ModelIndex,
  type WeightQuery,
} from './component.ts';
export { ConfigReader, type ArrayRange, type ConfigReport, type Range, type RawConfig } from './configReader.ts';
export { decode, encodeF16, findNonFinite, type HalfBits } from './convert.ts';
export { BaseDirectory, filesDirectory, handleDirectory, type Directory } from './directory.ts';
export { DTYPE_BYTES, type Dtype } from './dtype.ts';
export type { UrlOptions } from './http.ts';
export type { Piece, Rename } from './rename.ts';
export { byteLength, readHeader, type SafetensorsHeader, type TensorEntry } from './safetensors.ts';
export { openSharded, readIndex, type WeightIndex } from './shardedCheckpoint.ts';
export { BlobSource, MemorySource, type ByteSource } from './source.ts';
export { urlDirectory, urlSource } from './urlDirectory.ts';
export { UrlSource } from './urlSource.ts';
export { checkKeys, type KeyCheck, type KeyReport } from './weights.ts';
export { WindowedSource } from './windowedSource.ts';
