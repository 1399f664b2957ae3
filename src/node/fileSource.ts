import { open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { NotFoundError, throwIfAborted } from '../engine/errors.ts';
import { BaseDirectory, missing, normalisePath, type Directory } from '../loading/directory.ts';
import { checkRange, shortRead, type ByteSource } from '../loading/source.ts';

/** One call to the system reads at most this many bytes: its own limit is 2 GiB, and an abort is noticed between. */
const MAX_CALL = 64 * 2 ** 20;

/** Milliseconds without a read after which a file is let go. */
const IDLE = 500;

/**
 * A file on disk, read by ranges. It is opened when it is read and closed when nothing has been read for a while:
 * weights are read once, and perhaps again when adapters change, and nobody has to keep count of who still may.
 */
export class FileSource implements ByteSource {
  readonly name: string;
  private readonly path: string;
  private handle: Promise<FileHandle> | undefined;
  private length: number | undefined;
  private readers = 0;
  private timer: NodeJS.Timeout | undefined;

  /**
   * @param path absolute, or relative to the working directory
   * @param openFile how it is opened
   */
  constructor(
    path: string,
    private readonly openFile: (path: string) => Promise<FileHandle> = open,
  ) {
    this.path = path;
    this.name = path;
  }

  /** {@inheritDoc ByteSource.size} @throws NotFoundError when there is no such file or it may not be read */
  async size(): Promise<number> {
    if (this.length === undefined) {
      const info = await this.reading((handle) => handle.stat());
      if (info.isDirectory()) {
        await this.close();
        throw new NotFoundError(`open ${this.path}: expected a file, got a folder; name the file in it`);
      }
      this.length = info.size;
    }
    return this.length;
  }

  /** {@inheritDoc ByteSource.read} @throws as {@link readInto}. */
  async read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    checkRange(this.name, start, end, await this.size());
    const bytes = new Uint8Array(end - start);
    await this.readInto(start, bytes, signal);
    return bytes;
  }

  /**
   * {@inheritDoc ByteSource.readInto}
   * @throws NotFoundError when the file is not there; FormatError when it ends before; InvalidArgumentError for a range
   * that is none; AbortedError
   */
  async readInto(start: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    checkRange(this.name, start, start + into.length, await this.size());
    await this.reading(async (handle) => {
      for (let done = 0; done < into.length;) {
        throwIfAborted(signal, `read ${this.name}`);
        const { bytesRead } = await handle.read(into, done, Math.min(into.length - done, MAX_CALL), start + done);
        if (bytesRead === 0) throw shortRead(this.name, start, start + into.length, start + done);
        done += bytesRead;
      }
    });
  }

  /** Closes the file; reading again opens it anew. */
  async close(): Promise<void> {
    this.length = undefined;
    await this.release();
  }

  private async release(): Promise<void> {
    clearTimeout(this.timer);
    const handle = this.handle;
    this.handle = undefined;
    await (await handle?.catch(() => undefined))?.close();
  }

  private async reading<T>(work: (handle: FileHandle) => Promise<T>): Promise<T> {
    clearTimeout(this.timer);
    this.readers++;
    try {
      return await work(await this.open());
    } finally {
      // A timer that alone would keep the process alive must not.
      if (--this.readers === 0 && this.handle) this.timer = setTimeout(() => void this.release(), IDLE).unref();
    }
  }

  private open(): Promise<FileHandle> {
    this.handle ??= this.openFile(this.path).catch((cause: unknown) => {
      this.handle = undefined;
      throw unreadable(this.path, cause);
    });
    return this.handle;
  }
}

/** A folder on disk; whether it exists shows when something in it is opened. */
export function pathDirectory(path: string): Directory {
  return new PathDirectory(path);
}

class PathDirectory extends BaseDirectory {
  private readonly path: string;

  constructor(path: string) {
    super(path);
    this.path = path;
  }

  async open(path: string): Promise<ByteSource> {
    const full = join(this.path, normalisePath(path));
    if (!(await this.isFile(full))) {
      throw missing(this.path, path, 'check the path, or download the file into the folder');
    }
    return new FileSource(full);
  }

  has(path: string): Promise<boolean> {
    return this.isFile(join(this.path, normalisePath(path)));
  }

  list(): Promise<string[]> {
    return this.listFolder('');
  }

  async listFolder(path: string): Promise<string[]> {
    await this.checkRoot();
    const entries = await readdir(join(this.path, path), { withFileTypes: true }).catch(() => []);
    // Model caches keep files as links to a store.
    return entries.filter((entry) => entry.isFile() || entry.isSymbolicLink()).map((entry) => entry.name);
  }

  private async isFile(full: string): Promise<boolean> {
    const info = await stat(full).catch(() => undefined);
    if (info?.isFile()) return true;
    await this.checkRoot();
    return false;
  }

  /** A missing folder deserves a message of its own: otherwise every file in it would be reported missing. */
  private async checkRoot(): Promise<void> {
    const info = await stat(this.path).catch((cause: unknown) => {
      throw unreadable(this.path, cause, 'folder');
    });
    if (!info.isDirectory()) {
      throw new NotFoundError(
        `open ${this.path}: expected a folder, got a file (${basename(this.path)}); name the folder that holds it`,
      );
    }
  }
}

function unreadable(path: string, cause: unknown, what = 'file'): NotFoundError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
  const got =
    code === 'ENOENT' || code === 'ENOTDIR' ? 'nothing of that name' : code === 'EACCES' ? 'no permission' : code;
  return new NotFoundError(`open ${path}: expected a ${what}, got ${got}; check the path and its permissions`, {
    cause,
  });
}
