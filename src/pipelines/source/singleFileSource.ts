/** Which sources name one file rather than a folder, and that file. */
import { BlobSource, urlSource, type ByteSource } from '../../loading/index.ts';
import { hubAddress, hubHeaders, isDirectory, type PretrainedSource, type SourceOptions } from './source.ts';

/**
 * Endings of checkpoints in one file; all but the first are pickles, which `openSingleFile` refuses with the reason.
 */
const FILE = /\.(safetensors|ckpt|pt|pth|bin|pkl)$/i;

/**
 * The file that a source names: a URL of one (also that of its page on the hub), `org/name/file.safetensors`, one
 * picked file, a source of bytes. Undefined for a folder.
 */
export function resolveFile(source: PretrainedSource, options: SourceOptions = {}): ByteSource | undefined {
  const headers = hubHeaders(options);
  if (source instanceof URL || (typeof source === 'string' && /^https?:\/\//.test(source))) {
    const url = new URL(source);
    if (!FILE.test(url.pathname)) return undefined;
    // What the hub shows a person at /blob/ it gives a program at /resolve/.
    url.pathname = url.pathname.replace(/^(\/[^/]+\/[^/]+)\/blob\//, '$1/resolve/');
    return urlSource(url, { headers });
  }
  if (typeof source === 'string') {
    const place = options.local?.(source);
    if (place) return isDirectory(place) ? undefined : place;
    const address = FILE.test(source) ? hubAddress(withSubfolder(source, options.subfolder), options) : undefined;
    return address === undefined ? undefined : urlSource(address, { headers });
  }
  if (source instanceof Blob) return new BlobSource(source);
  if ('read' in source && 'size' in source) return source;
  if (!(Symbol.iterator in source)) return undefined;
  const files = [...source];
  return files.length === 1 && FILE.test(files[0].name) ? new BlobSource(files[0]) : undefined;
}

function withSubfolder(source: string, subfolder: string | undefined): string {
  const [org, name, ...path] = source.split('/');
  return [org, name, ...(subfolder ? [subfolder] : []), ...path].join('/');
}
