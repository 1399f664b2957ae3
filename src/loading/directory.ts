import { FormatError, InvalidArgumentError, NotFoundError } from '../engine/errors.ts';
import { decodeUtf8, parseJson } from './json.ts';
import { BlobSource, type ByteSource } from './source.ts';

/**
 * A folder of a model, wherever it is: on disk, behind a URL, picked or dropped in a page. Paths are relative, with
 * forward slashes, and cannot leave the folder.
 */
export interface Directory {
  /** What error messages call it. */
  readonly name: string;
  /**
   * A file in it.
   * @throws NotFoundError when it is not there; NetworkError where the place is a server that cannot be reached;
   * InvalidArgumentError for a path that is empty, absolute or leaves the folder
   */
  open(path: string, signal?: AbortSignal): Promise<ByteSource>;
  /** Whether a file of that path is there. @throws NotFoundError, NetworkError when the place itself cannot be asked */
  has(path: string, signal?: AbortSignal): Promise<boolean>;
  /** The file as UTF-8 text of at most 64 MiB. @throws as {@link open}, and FormatError for anything else */
  text(path: string, signal?: AbortSignal): Promise<string>;
  /** The file as JSON, no key twice in any object. @throws as {@link text}, and FormatError for anything else */
  json(path: string, signal?: AbortSignal): Promise<unknown>;
  /**
   * Names of the files (not folders) directly in it; undefined where the place cannot list (a URL).
   * @throws NotFoundError when the place itself cannot be asked
   */
  list(signal?: AbortSignal): Promise<string[] | undefined>;
  /**
   * A folder inside; whether it exists shows when something in it is opened.
   * @throws InvalidArgumentError for a path that is empty, absolute or leaves this folder
   */
  folder(path: string): Directory;
}

/** Configs, indices and tokenizers are texts of a few megabytes; beyond this it is another kind of file. */
export const MAX_TEXT = 64 * 2 ** 20;

/** What a place must be able to do; the rest of {@link Directory} follows. */
export abstract class BaseDirectory implements Directory {
  readonly name: string;

  /** @param name what error messages call the folder */
  constructor(name: string) {
    this.name = name;
  }

  /** {@inheritDoc Directory.open} @throws as there. */
  abstract open(path: string, signal?: AbortSignal): Promise<ByteSource>;
  /** {@inheritDoc Directory.has} @throws as there. */
  abstract has(path: string, signal?: AbortSignal): Promise<boolean>;
  /** {@inheritDoc Directory.list} @throws NotFoundError when the place itself cannot be asked. */
  abstract list(signal?: AbortSignal): Promise<string[] | undefined>;

  /** {@inheritDoc Directory.text} @throws as there. */
  async text(path: string, signal?: AbortSignal): Promise<string> {
    const source = await this.open(path, signal);
    try {
      const size = await source.size(signal);
      if (size > MAX_TEXT) throw tooLong(source.name, size);
      return decodeUtf8(await source.read(0, size, signal), `read ${source.name}`);
    } finally {
      await source.close?.();
    }
  }

  /** {@inheritDoc Directory.json} @throws as there. */
  async json(path: string, signal?: AbortSignal): Promise<unknown> {
    return parseJson(await this.text(path, signal), `read ${joinPath(this.name, path)}`);
  }

  /** {@inheritDoc Directory.folder} @throws as there. */
  folder(path: string): Directory {
    return new SubDirectory(this, normalisePath(path));
  }
}

/** A folder seen from a directory above it; the files are that directory's. */
class SubDirectory extends BaseDirectory {
  private readonly parent: BaseDirectory & { listFolder?(path: string, signal?: AbortSignal): Promise<string[]> };
  private readonly path: string;

  constructor(parent: BaseDirectory, path: string) {
    super(joinPath(parent.name, path));
    this.parent = parent;
    this.path = path;
  }

  open(path: string, signal?: AbortSignal): Promise<ByteSource> {
    return this.parent.open(joinPath(this.path, normalisePath(path)), signal);
  }

  has(path: string, signal?: AbortSignal): Promise<boolean> {
    return this.parent.has(joinPath(this.path, normalisePath(path)), signal);
  }

  override text(path: string, signal?: AbortSignal): Promise<string> {
    return this.parent.text(joinPath(this.path, normalisePath(path)), signal);
  }

  override folder(path: string): Directory {
    return new SubDirectory(this.parent, joinPath(this.path, normalisePath(path)));
  }

  async list(signal?: AbortSignal): Promise<string[] | undefined> {
    return this.parent.listFolder?.(this.path, signal);
  }
}

/**
 * Files that a user picked or dropped. A folder picker sets `webkitRelativePath`, whose first part (the picked folder)
 * is left out; plain files lie side by side. A record gives the paths itself.
 * @throws InvalidArgumentError when two files have the same path
 */
export function filesDirectory(files: Iterable<File> | Readonly<Record<string, Blob>>, name?: string): Directory {
  const map = new Map<string, Blob>();
  let folder: string | undefined;
  const entries = Symbol.iterator in files ? [...files].map(placed) : Object.entries(files as Record<string, Blob>);
  for (const [path, blob] of entries) {
    const key = normalisePath(path);
    if (map.has(key)) {
      throw new InvalidArgumentError(
        `filesDirectory: expected every path once, got ${key} twice; pick the folder as a whole, or pass a record of ` +
          'path to file',
      );
    }
    map.set(key, blob);
  }
  if (Symbol.iterator in files) {
    for (const file of files) folder ??= file.webkitRelativePath?.split('/')[0] || undefined;
  }
  return new FilesDirectory(map, name ?? folder ?? 'files');
}

function placed(file: File): [string, File] {
  const parts = (file.webkitRelativePath ?? '').split('/');
  return [parts.length > 1 ? parts.slice(1).join('/') : file.name, file];
}

class FilesDirectory extends BaseDirectory {
  private readonly files: ReadonlyMap<string, Blob>;

  constructor(files: ReadonlyMap<string, Blob>, name: string) {
    super(name);
    this.files = files;
  }

  async open(path: string): Promise<ByteSource> {
    const blob = this.files.get(normalisePath(path));
    if (!blob) throw missing(this.name, path, 'add it to the files, or pick the whole folder');
    return new BlobSource(blob, joinPath(this.name, path));
  }

  async has(path: string): Promise<boolean> {
    return this.files.has(normalisePath(path));
  }

  list(): Promise<string[]> {
    return this.listFolder('');
  }

  async listFolder(path: string): Promise<string[]> {
    const prefix = path === '' ? '' : `${path}/`;
    return [...this.files.keys()]
      .filter((key) => key.startsWith(prefix) && !key.slice(prefix.length).includes('/'))
      .map((key) => key.slice(prefix.length));
  }
}

/** A folder that the page was handed (`showDirectoryPicker`, drag and drop, the origin's private file system). */
export function handleDirectory(handle: FileSystemDirectoryHandle, name = handle.name): Directory {
  return new HandleDirectory(handle, name);
}

class HandleDirectory extends BaseDirectory {
  private readonly handle: FileSystemDirectoryHandle;

  constructor(handle: FileSystemDirectoryHandle, name: string) {
    super(name);
    this.handle = handle;
  }

  async open(path: string): Promise<ByteSource> {
    const file = await this.find(path);
    if (!file) throw missing(this.name, path, 'pick the folder that holds it');
    return new BlobSource(await file.getFile(), joinPath(this.name, path));
  }

  async has(path: string): Promise<boolean> {
    return (await this.find(path)) !== undefined;
  }

  list(): Promise<string[]> {
    return this.listFolder('');
  }

  async listFolder(path: string): Promise<string[]> {
    const names: string[] = [];
    const folder = await this.walk(path === '' ? [] : path.split('/'));
    if (!folder) return names;
    for await (const [name, entry] of folder.entries()) if (entry.kind === 'file') names.push(name);
    return names;
  }

  private async find(path: string): Promise<FileSystemFileHandle | undefined> {
    const parts = normalisePath(path).split('/');
    const folder = await this.walk(parts.slice(0, -1));
    return folder && (await absentAsUndefined(this.name, path, folder.getFileHandle(parts[parts.length - 1])));
  }

  private async walk(parts: readonly string[]): Promise<FileSystemDirectoryHandle | undefined> {
    let folder: FileSystemDirectoryHandle | undefined = this.handle;
    for (const part of parts) {
      folder = folder && (await absentAsUndefined(this.name, part, folder.getDirectoryHandle(part)));
    }
    return folder;
  }
}

async function absentAsUndefined<T>(name: string, path: string, promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (cause) {
    const kind = cause instanceof Error ? cause.name : '';
    // A file where a folder was looked for, or the other way round, is as good as absent.
    if (kind === 'NotFoundError' || kind === 'TypeMismatchError') return undefined;
    throw new NotFoundError(
      `open ${joinPath(name, path)}: expected to be allowed to read it, got ${kind || String(cause)}; pick the ` +
        'folder again and allow reading',
      { cause },
    );
  }
}

/** The error of every directory for a file that is not in it. */
export function missing(directory: string, path: string, advice: string, cause?: unknown): NotFoundError {
  return new NotFoundError(`open ${directory}: expected a file ${path}, got none; ${advice}`, { cause });
}

/** The error of every directory for a file that is too long to be a text. */
export function tooLong(name: string, size: number): FormatError {
  return new FormatError(
    `read ${name}: expected a text of at most ${MAX_TEXT} bytes, got ${size}; this is another kind of file`,
  );
}

/**
 * A path without empty parts and dots.
 * @throws InvalidArgumentError for one that is empty, absolute or leaves the folder
 */
export function normalisePath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length === 0 || path.startsWith('/') || /\\|^[a-z]+:/i.test(path) || parts.includes('..')) {
    throw new InvalidArgumentError(
      `open: expected a relative path inside the folder, got ${JSON.stringify(path)}; use forward slashes and no ".."`,
    );
  }
  return parts.join('/');
}

/** A path below a folder; the path itself below the empty one. */
export function joinPath(folder: string, path: string): string {
  return folder === '' ? path : `${folder.replace(/\/$/, '')}/${path}`;
}
