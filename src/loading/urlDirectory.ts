import { InvalidArgumentError } from '../engine/errors.ts';
import { BaseDirectory, MAX_TEXT, joinPath, normalisePath, tooLong, type Directory } from './directory.ts';
import { contentLength, readAll, hubReason, refused, request, send, type UrlOptions } from './http.ts';
import { decodeUtf8 } from './json.ts';
import type { ByteSource } from './source.ts';
import { UrlSource } from './urlSource.ts';
import { WindowedSource } from './windowedSource.ts';

/** A file behind http(s) as a source whose small reads are gathered into few requests. */
export function urlSource(url: string | URL, options: UrlOptions = {}): ByteSource {
  return new WindowedSource(new UrlSource(url, options));
}

/**
 * A folder behind http(s). Paths are appended to the address; its query string (an access token) is kept.
 * @throws InvalidArgumentError when the address is not an absolute URL
 */
export function urlDirectory(url: string | URL, options: UrlOptions = {}): Directory {
  let base: URL;
  try {
    base = new URL(url);
  } catch (cause) {
    throw new InvalidArgumentError(
      `urlDirectory: expected an absolute address such as https://host/folder, got ${JSON.stringify(String(url))}; ` +
        'in a page, resolve it with new URL(path, location.href)',
      { cause },
    );
  }
  return new UrlDirectory(base, options);
}

class UrlDirectory extends BaseDirectory {
  private readonly base: URL;
  private readonly options: UrlOptions;

  constructor(base: URL, options: UrlOptions) {
    super(`${base.origin}${base.pathname}`.replace(/\/$/, ''));
    this.base = base;
    this.options = options;
  }

  async open(path: string, signal?: AbortSignal): Promise<ByteSource> {
    const source = urlSource(this.address(path), this.options);
    await source.size(signal);
    return source;
  }

  async has(path: string, signal?: AbortSignal): Promise<boolean> {
    const url = this.address(path);
    const name = joinPath(this.name, path);
    let response = await send(url, name, this.options, { method: 'HEAD', signal });
    if (response.status === 405 || response.status === 501) {
      // Some servers do not know HEAD.
      response = await send(url, name, this.options, { range: [0, 1], signal });
      await response.body?.cancel();
    }
    if (response.ok || response.status === 416) return true;
    // Object stores answer 403 for what is not there, when the folder must not be listed.
    if ([403, 404, 410].includes(response.status) && !hubReason(response)) return false;
    throw refused(name, response);
  }

  override async text(path: string, signal?: AbortSignal): Promise<string> {
    const name = joinPath(this.name, path);
    // One plain request, which the server may compress, in place of a size and a range.
    const response = await request(this.address(path), name, this.options, { signal });
    const bytes = await readAll(response, MAX_TEXT, name, signal);
    if (!bytes) throw tooLong(name, contentLength(response) ?? MAX_TEXT + 1);
    return decodeUtf8(bytes, `read ${name}`);
  }

  async list(): Promise<undefined> {
    return undefined;
  }

  private address(path: string): string {
    const url = new URL(this.base);
    const encoded = normalisePath(path).split('/').map(encodeURIComponent).join('/');
    url.pathname = joinPath(url.pathname, encoded);
    return url.href;
  }
}
