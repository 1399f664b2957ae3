/** What `fromPretrained` accepts, as a Directory. */
import { InvalidArgumentError } from '../engine/index.ts';
import { filesDirectory, handleDirectory, urlDirectory, type Directory } from '../loading/index.ts';

/** A hub name (`org/name`, `org/name/subfolder`), a URL of a folder, picked files, a directory handle, or a directory. */
export type PretrainedSource = string | URL | Iterable<File> | FileSystemDirectoryHandle | Directory;

/** How to reach what a source names. */
export interface SourceOptions {
  /** Branch, tag or commit on the hub; default `main`. */
  revision?: string;
  /** Hub access token. */
  token?: string;
}

const HUB = 'https://huggingface.co';

/**
 * The folder that a source names.
 * @throws InvalidArgumentError for anything else; a path on disk needs `daguerre/node`.
 */
export function resolveSource(source: PretrainedSource, { revision = 'main', token }: SourceOptions = {}): Directory {
  const headers = token ? { authorization: `Bearer ${token}` } : undefined;
  if (source instanceof URL || (typeof source === 'string' && /^https?:\/\//.test(source))) {
    return urlDirectory(source, { headers });
  }
  if (typeof source === 'string') {
    const [org, name, ...folder] = source.split('/');
    if (!/^[\w-][\w.-]*$/.test(org) || !/^[\w-][\w.-]*$/.test(name ?? '')) {
      throw new InvalidArgumentError(
        `fromPretrained: expected a hub name 'org/name' or an absolute URL, got '${source}'; ` +
          'a path on disk is opened by fromPretrained of daguerre/node',
      );
    }
    const path = [org, name, 'resolve', encodeURIComponent(revision), ...folder].join('/');
    return urlDirectory(`${HUB}/${path}/`, { headers });
  }
  if (isDirectory(source)) return source;
  if ('kind' in source && source.kind === 'directory') return handleDirectory(source);
  if (Symbol.iterator in source) return filesDirectory(source);
  throw new InvalidArgumentError(
    'fromPretrained: expected a hub name, URL, list of files or directory handle, ' +
      `got ${Object.prototype.toString.call(source)}`,
  );
}

function isDirectory(source: object): source is Directory {
  return 'open' in source && 'json' in source && 'folder' in source;
}
