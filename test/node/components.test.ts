import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { AdapterError } from '../../src/engine/errors.ts';
import { aptFetch } from '../../src/node/setup/aptFetch.ts';
import { cannotFetch, ensureComponent, fetchedFolder } from '../../src/node/setup/components.ts';
import { neededLibraries } from '../../src/node/setup/elf.ts';
import { withLock } from '../../src/node/setup/lock.ts';
import { preload } from '../../src/node/setup/preload.ts';
import { cacheFolder, packageRoot } from '../../src/node/setup/cacheFolder.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-setup-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

describe('lock', () => {
  test('one at a time, each gets its turn, and nothing stays', async () => {
    const lock = join(folder, 'lock');
    let inside = 0;
    let most = 0;
    const turns = Array.from({ length: 4 }, (_, i) =>
      withLock(lock, async () => {
        most = Math.max(most, ++inside);
        await pause(20);
        inside--;
        return i;
      }),
    );
    expect(await Promise.all(turns)).toEqual([0, 1, 2, 3]);
    expect(most).toBe(1);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('is taken over from a process that is gone', async () => {
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    mkdirSync(join(folder, 'lock'));
    writeFileSync(join(folder, 'lock', 'owner.json'), JSON.stringify({ pid: dead, host: hostname(), token: 'x' }));
    expect(await withLock(join(folder, 'lock'), async () => 'mine')).toBe('mine');
  });

  test('waits for a living process, and says so', async () => {
    const other = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 10000)']);
    const owner = { pid: other.pid, host: hostname(), token: 'x' };
    mkdirSync(join(folder, 'lock'));
    writeFileSync(join(folder, 'lock', 'owner.json'), JSON.stringify(owner));
    const waited: number[] = [];
    const mine = withLock(
      join(folder, 'lock'),
      async () => other.exitCode ?? other.signalCode,
      (pid) => waited.push(pid),
    );
    await vi.waitFor(() => expect(waited).toEqual([other.pid]), 10_000);
    other.kill('SIGKILL');
    expect(await mine).toBe('SIGKILL');
  });

  test('is given back when the work fails', async () => {
    await expect(withLock(join(folder, 'lock'), () => Promise.reject(new Error('work')))).rejects.toThrow('work');
    expect(existsSync(join(folder, 'lock'))).toBe(false);
  });
});

/** Stand-ins for apt-get and dpkg-deb that write down how they were called. */
function fakeApt(script: string): void {
  const write = (name: string, body: string) => {
    writeFileSync(join(folder, 'bin', name), `#!/bin/sh\necho "${name} $*" >> "${folder}/calls"\n${body}\n`);
    chmodSync(join(folder, 'bin', name), 0o755);
  };
  mkdirSync(join(folder, 'bin'));
  write(
    'apt-config',
    'echo \'Acquire::http::Proxy "http://proxy.example:3128";\'\necho \'APT::Update::Post-Invoke:: "boom";\'',
  );
  write('apt-get', script);
  write('dpkg-deb', 'mkdir -p "$3/usr"; cp "$2" "$3/usr/"');
  vi.stubEnv('PATH', `${join(folder, 'bin')}:${process.env.PATH}`);
}

const LISTING = `case "$*" in
  *--print-uris*) echo "'http://m/a.deb' a_1_amd64.deb 1000 SHA256:00"; echo "'http://m/c.deb' libc6_2_amd64.deb 9 SHA256:00";;`;

function request(log: string[] = []) {
  return {
    folder: join(folder, 'apt'),
    plan: {
      list: () => 'deb http://m.example bookworm main\n',
      target: 'bookworm-backports',
      mirror: 'http://m.example',
    },
    packages: ['a'],
    dependencies: true,
    into: join(folder, 'tree'),
    what: 'a thing',
    log: (line: string) => log.push(line),
  };
}

describe.skipIf(process.platform === 'win32')('aptFetch', () => {
  test("downloads and unpacks with a configuration of its own, leaving out the system's C library", async () => {
    fakeApt(`${LISTING}\n *install*) echo a > a_1_amd64.deb; echo c > libc6_2_amd64.deb;; esac`);
    const said: string[] = [];
    expect(await aptFetch(request(said))).toEqual(['a_1_amd64.deb']);
    expect(readdirSync(join(folder, 'tree', 'usr'))).toEqual(['a_1_amd64.deb']);
    expect(said.join('\n')).toMatch(/1 package, 1 MB from http:\/\/m\.example/);
    const configuration = readFileSync(join(folder, 'apt', 'apt.conf'), 'utf8');
    expect(configuration).toContain('proxy.example');
    expect(configuration).not.toContain('boom');
    const names = [...configuration.matchAll(/^Dir::(?:State|Cache|Log) "(.*)";$/gm)].map((match) => match[1]);
    expect(names).toHaveLength(3);
    for (const name of names) expect(name.startsWith(folder)).toBe(true);
    expect(readdirSync(join(folder, 'apt', 'cache', 'archives'))).toEqual(['partial']);
  });

  test('reads the lists again, once, when the mirror has moved on', async () => {
    const broken = `[ -e ${'$'}{0%/bin/*}/second ] || { touch ${'$'}{0%/bin/*}/second; echo 404 >&2; exit 100; }`;
    fakeApt(`${LISTING}\n *install*) ${broken}; echo a > a_1_amd64.deb;; esac`);
    mkdirSync(join(folder, 'apt'));
    writeFileSync(join(folder, 'apt', 'updated.txt'), 'just now');
    await aptFetch(request());
    const calls = readFileSync(join(folder, 'calls'), 'utf8');
    expect(calls.match(/apt-get update/g)).toHaveLength(1);
    expect(calls.match(/apt-get install/g)).toHaveLength(2);
  });

  test("a failure carries apt's own words, and nothing is unpacked", async () => {
    fakeApt(`echo 'E: Could not resolve m.example' >&2; exit 100`);
    await expect(aptFetch(request())).rejects.toThrow(/apt-get update.*code 100[^]*Could not resolve m\.example/);
    expect(existsSync(join(folder, 'tree'))).toBe(false);
  });

  test('a disk too small is told before anything is downloaded', async () => {
    fakeApt(`case "$*" in *--print-uris*) echo "'http://m/a.deb' a_1_amd64.deb 9000000000000000 SHA256:00";; esac`);
    await expect(aptFetch(request())).rejects.toThrow(/free some, or set DAGUERRE_CACHE/);
    expect(readFileSync(join(folder, 'calls'), 'utf8')).not.toMatch(/install(?!.*print-uris)/);
  });
});

describe('ensureComponent', () => {
  test('opted out: a typed error with one command, and an untouched cache', async () => {
    vi.stubEnv('DAGUERRE_NO_FETCH', '1');
    vi.stubEnv('DAGUERRE_CACHE', join(folder, 'cache'));
    expect(cannotFetch('lavapipe')).toBe('DAGUERRE_NO_FETCH is set');
    const fetching = ensureComponent('lavapipe', () => undefined);
    await expect(fetching).rejects.toThrow(AdapterError);
    await expect(fetching).rejects.toThrow(/DAGUERRE_NO_FETCH is set; this command would put it in place:\n {2}\S/);
    expect(readdirSync(join(folder, 'cache'))).toEqual([]);
  });

  test('a folder without its record, or by an older recipe, does not count', () => {
    const lavapipe = join(folder, 'lavapipe');
    mkdirSync(lavapipe);
    expect(fetchedFolder('lavapipe', folder)).toBeUndefined();
    writeFileSync(join(lavapipe, 'fetched.json'), JSON.stringify({ version: 0 }));
    expect(fetchedFolder('lavapipe', folder)).toBeUndefined();
  });

  test('what a killed process left is removed by the next', async () => {
    vi.stubEnv('DAGUERRE_NO_FETCH', '1');
    vi.stubEnv('DAGUERRE_CACHE', folder);
    mkdirSync(join(folder, 'tmp-lavapipe-1-1'));
    await ensureComponent('lavapipe', () => undefined).catch(() => undefined);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('libraries', () => {
  test.runIf(process.platform === 'linux')("reads a file's needed libraries, and none of what is no ELF file", () => {
    expect(neededLibraries(process.execPath)).toContain('libc.so.6');
    writeFileSync(join(folder, 'text.so'), 'INPUT(libc.so.6)');
    expect(neededLibraries(join(folder, 'text.so'))).toEqual([]);
  });

  test('a library that is not there, or is no library, is not preloaded', () => {
    writeFileSync(join(folder, 'text.so'), 'INPUT(libc.so.6)'.padEnd(100));
    expect(preload('absent.so', [folder])).toBe(false);
    expect(preload('text.so', [folder])).toBe(false);
  });

  test('the cache folder', () => {
    expect(cacheFolder()).toBe(process.env.DAGUERRE_CACHE ?? join(packageRoot(), '.cache'));
    vi.stubEnv('DAGUERRE_CACHE', join(folder, 'elsewhere'));
    expect(cacheFolder()).toBe(join(folder, 'elsewhere'));
  });
});
