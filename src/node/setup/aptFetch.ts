import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { AdapterError, DaguerreError } from '../../engine/errors.ts';
import { commandError, mustRun, runCommand } from './command.ts';
import type { ArchivePlan } from './system.ts';

export type Log = (line: string) => void;

export interface AptRequest {
  /** Folder for apt's own state, lists and archives; kept between calls, so that a killed download goes on. */
  folder: string;
  plan: ArchivePlan;
  packages: string[];
  /** Also everything that the packages depend on, as if nothing were installed. */
  dependencies: boolean;
  /** Folder to unpack into; must not exist yet. */
  into: string;
  /** Short name of what is fetched, for messages. */
  what: string;
  log: Log;
}

interface Archive {
  file: string;
  bytes: number;
}

/** Node itself runs on the system's C and C++ libraries; a second copy of them in one process would crash it. */
const FROM_SYSTEM = /^(libc6|libgcc-s1|libstdc\+\+6|gcc-\d+-base|libc-bin)_/;

/** How long an apt-get left over from a killed process is waited for. */
const LOCK_SECONDS = 600;

/** Lists older than this are refreshed: mirrors drop superseded packages. */
const LISTS_FRESH_MS = 6 * 3600_000;

export const megabytes = (bytes: number) => `${Math.max(1, Math.round(bytes / 1e6))} MB`;

/** Settings of our own: the system's hooks would act on the system, its proxies and certificates we need. */
async function aptConfiguration(folder: string): Promise<string> {
  const dump = await runCommand('apt-config', ['dump']);
  const network = dump.stdout.split('\n').filter((l) => /^Acquire::(?!IndexTargets|Languages|GzipIndexes)/.test(l));
  const own: Record<string, string> = {
    'Dir::State': join(folder, 'state'),
    'Dir::State::status': join(folder, 'state', 'status'),
    'Dir::Cache': join(folder, 'cache'),
    'Dir::Log': join(folder, 'log'),
    // Not worth their disk space for a handful of calls.
    'Dir::Cache::pkgcache': '',
    'Dir::Cache::srcpkgcache': '',
    'Acquire::GzipIndexes': 'true',
    'Dir::Etc::sourcelist': join(folder, 'sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'Dir::Etc::Parts': '/dev/null',
    'Dir::Etc::Main': '/dev/null',
    // The download user of root's apt may not enter this folder.
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
  };
  // A bare system may read its packages over https and have no certificates to check with; Node brings its own.
  if (!existsSync('/etc/ssl/certs/ca-certificates.crt')) {
    own['Acquire::https::CAInfo'] = join(folder, 'certificates.pem');
    await writeFile(own['Acquire::https::CAInfo'], rootCertificates.join('\n'));
  }
  return [...network, ...Object.entries(own).map(([name, value]) => `${name} "${value}";`)].join('\n') + '\n';
}

type Apt = (args: string[], folder?: string) => Promise<string>;

/** All archives of a request. apt leaves out those that it has, so it is shown a folder that is always empty. */
async function listArchives(apt: Apt, request: AptRequest): Promise<Archive[]> {
  const empty = join(request.folder, 'empty');
  await mkdir(join(empty, 'partial'), { recursive: true });
  const printed = await apt(
    ['-o', `Dir::Cache::archives=${empty}`, ...aptAction(request), '--print-uris', '-qq'],
    empty,
  );
  const archives: Archive[] = [];
  for (const line of printed.split('\n')) {
    const match = /^'[^']*' (\S+\.deb) (\d+)/.exec(line);
    if (match && !FROM_SYSTEM.test(match[1])) archives.push({ file: match[1], bytes: Number(match[2]) });
  }
  if (archives.length === 0)
    throw new DaguerreError(`aptFetch: ${request.packages.join(', ')} not found on the mirror`);
  return archives;
}

function aptAction(request: AptRequest): string[] {
  if (!request.dependencies) return ['download', ...request.packages];
  const target = request.plan.target ? ['-t', request.plan.target] : [];
  return ['install', '-y', '--no-install-recommends', '--download-only', ...target, ...request.packages];
}

async function bytesIn(folder: string): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  const sizes = await Promise.all(
    names.map((n) =>
      stat(join(folder, n)).then(
        (s) => (s.isFile() ? s.size : 0),
        () => 0,
      ),
    ),
  );
  return sizes.reduce((a, b) => a + b, 0);
}

/** Free bytes on the disk that holds `folder`. */
export async function freeBytes(folder: string): Promise<number> {
  const s = await statfs(folder);
  return s.bavail * s.bsize;
}

async function download(run: () => Promise<string>, archives: string, total: number, log: Log): Promise<void> {
  let shown = 0;
  const timer = setInterval(async () => {
    const have = (await bytesIn(archives)) + (await bytesIn(join(archives, 'partial')));
    const tenth = Math.min(9, Math.floor((10 * have) / total));
    if (tenth > shown) log(`  ${(shown = tenth) * 10} % of ${megabytes(total)}`);
  }, 1000);
  try {
    await run();
  } finally {
    clearInterval(timer);
  }
}

/**
 * Downloads Debian or Ubuntu packages with an apt that has configuration, state and cache of its own, and unpacks them
 * into a folder. Needs no root and changes nothing of the system.
 * @throws AdapterError when the disk is too full; DaguerreError when apt or the network fails, with apt's own words.
 */
export async function aptFetch(request: AptRequest): Promise<string[]> {
  const { folder, plan, log, what, into } = request;
  const archivesFolder = join(folder, 'cache', 'archives');
  await mkdir(join(folder, 'state', 'lists', 'partial'), { recursive: true });
  await mkdir(join(archivesFolder, 'partial'), { recursive: true });
  await mkdir(join(folder, 'log'), { recursive: true });
  await writeFile(join(folder, 'state', 'status'), '');
  const keys: [string, string][] = [];
  const list = plan.list((block) => {
    const file = join(folder, `key-${keys.length}.asc`);
    keys.push([file, block]);
    return file;
  });
  for (const [file, block] of keys) await writeFile(file, block);
  await writeFile(join(folder, 'sources.list'), list);
  const config = join(folder, 'apt.conf');
  await writeFile(config, await aptConfiguration(folder));

  const env = { ...process.env, APT_CONFIG: config, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
  const apt: Apt = async (args, cwd = archivesFolder) => {
    for (let waited = 0; ; waited++) {
      const result = await runCommand('apt-get', args, { cwd, env });
      if (result.code === 0) return result.stdout;
      // An apt-get whose parent was killed goes on by itself, and what it downloads is what we want.
      if (waited >= LOCK_SECONDS || !/Could not get lock|Unable to lock/.test(result.stderr)) {
        throw commandError('apt-get', args, result);
      }
      if (waited === 0) log('  waiting for an earlier apt-get on the same folder');
      await new Promise((later) => setTimeout(later, 1000));
    }
  };

  const stamp = join(folder, 'updated.txt');
  const age = await stat(stamp).then(
    (s) => Date.now() - s.mtimeMs,
    () => Infinity,
  );
  const update = async () => {
    log(`  reading the package lists of ${plan.mirror}`);
    await apt(['update', '-q', '--error-on=any']);
    await writeFile(stamp, new Date().toISOString());
  };
  let fresh = age > LISTS_FRESH_MS;
  if (fresh) await update();

  for (;;) {
    try {
      const archives = await listArchives(apt, request);
      const total = archives.reduce((sum, a) => sum + a.bytes, 0);
      // Packages unpack to about four times their size, and both are there until the end.
      const free = await freeBytes(folder);
      if (free < 5 * total) {
        throw new AdapterError(
          `${what}: needs ${megabytes(5 * total)} free on the disk of ${folder}, which has ${megabytes(free)}; ` +
            'free some, or set DAGUERRE_CACHE to a folder on another disk',
        );
      }
      log(`  ${archives.length} package${archives.length > 1 ? 's' : ''}, ${megabytes(total)} from ${plan.mirror}`);
      await download(() => apt([...aptAction(request), '-q']), archivesFolder, total, log);
      const files = archives.map((a) => join(archivesFolder, a.file));
      log('  unpacking');
      await mkdir(into, { recursive: true });
      for (const file of files) {
        if (!existsSync(file)) throw new DaguerreError(`aptFetch: ${file} was not downloaded`);
        await mustRun('dpkg-deb', ['-x', file, into]);
      }
      const unused = (await readdir(archivesFolder)).filter((name) => FROM_SYSTEM.test(name));
      for (const file of [...files, ...unused.map((name) => join(archivesFolder, name))])
        await rm(file, { force: true });
      return archives.map((a) => a.file);
    } catch (error) {
      if (fresh || error instanceof AdapterError) throw error;
      fresh = true; // a package of the lists may have been superseded on the mirror since
      await update();
    }
  }
}
