/** What `fromPretrained` accepts, as a Directory. */
import { InvalidArgumentError } from '../../engine/index.ts';
import { filesDirectory, handleDirectory, urlDirectory, type ByteSource, type Directory } from '../../loading/index.ts';

/**
 * A hub name (`org/name`, `org/name/subfolder`), a URL of a folder, picked files, a directory handle, or a directory;
 * for a checkpoint in one file `org/name/file.safetensors`, its URL, the picked file, or a source of its bytes.
 */
export type PretrainedSource =
  string | URL | Iterable<File> | File | FileSystemDirectoryHandle | Directory | ByteSource;

/** How to reach what a source names. */
export interface SourceOptions {
  /** Branch, tag or commit on the hub; default `main`. */
  revision?: string;
  /** Hub access token. */
  token?: string;
  /** Folder inside what the source names: one model of several in a place. */
  subfolder?: string;
  /** Where hub names are looked up; default https://huggingface.co. */
  endpoint?: string;
  /** Asked first about every text, for places that only the platform knows; `daguerre/node` opens paths by it. */
  local?: (name: string) => Directory | ByteSource | undefined;
}

const HUB = 'https://huggingface.co';

/** Headers that a hub wants. */
export const hubHeaders = ({ token }: SourceOptions) => (token ? { authorization: `Bearer ${token}` } : undefined);

/** `org/name/…` as the parts of an address on the hub; undefined where it is no hub name. */
export function hubAddress(name: string, { revision = 'main', endpoint = HUB }: SourceOptions): string | undefined {
  const [org, model, ...path] = name.split('/');
  if (!/^[\w-][\w.-]*$/.test(org) || !/^[\w-][\w.-]*$/.test(model ?? '')) return undefined;
  return [endpoint.replace(/\/$/, ''), org, model, 'resolve', encodeURIComponent(revision), ...path].join('/');
}

/**
 * The folder that a source names.
 * @throws InvalidArgumentError for anything else; a path on disk needs `daguerre/node`.
 */
export function resolveSource(source: PretrainedSource, options: SourceOptions = {}): Directory {
  const directory = directoryOf(source, options);
  return options.subfolder ? directory.folder(options.subfolder) : directory;
}

function directoryOf(source: PretrainedSource, options: SourceOptions): Directory {
  const headers = hubHeaders(options);
  if (source instanceof URL || (typeof source === 'string' && /^https?:\/\//.test(source))) {
    return urlDirectory(source, { headers });
  }
  if (typeof source === 'string') {
    const place = options.local?.(source);
    if (place && isDirectory(place)) return place;
    const address = hubAddress(source, options);
    if (address) return urlDirectory(`${address}/`, { headers });
    throw new InvalidArgumentError(
      `fromPretrained: expected a hub name 'org/name' or an absolute URL, got '${source}'; ` +
        'a path on disk is opened by fromPretrained of daguerre/node',
    );
  }
  if (isDirectory(source)) return source;
  if ('kind' in source && source.kind === 'directory') return handleDirectory(source);
  if (Symbol.iterator in source) return filesDirectory(source);
  throw new InvalidArgumentError(
    'fromPretrained: expected a hub name, URL, list of files or directory handle, ' +
      `got ${Object.prototype.toString.call(source)}`,
  );
}

/** Whether a source is a folder that is open already. */
export function isDirectory(source: object): source is Directory {
  return 'open' in source && 'json' in source && 'folder' in source;
}
