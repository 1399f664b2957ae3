import { readFileSync } from 'node:fs';
import type { AptSource } from './aptSources.ts';

/** What decides whether, and how, packages can be fetched here. */
export interface System {
  platform: NodeJS.Platform;
  arch: string;
  /** `debian`, `ubuntu`, … from os-release; empty elsewhere. */
  id: string;
  /** `bookworm`, `noble`, … */
  codename: string;
  /** Library folder name of the architecture, such as `x86_64-linux-gnu`. */
  triplet: string;
}

const TRIPLETS: Record<string, string> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/** Reads the system's name from os-release. */
export function readSystem(file = '/etc/os-release'): System {
  const fields = new Map<string, string>();
  try {
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      const match = /^(\w+)="?([^"]*)"?$/.exec(line.trim());
      if (match) fields.set(match[1], match[2]);
    }
  } catch {
    // not Linux, or a Linux that does not name itself
  }
  const { platform, arch } = process;
  const codename = fields.get('VERSION_CODENAME') ?? '';
  return { platform, arch, id: fields.get('ID') ?? '', codename, triplet: TRIPLETS[arch] ?? '' };
}

/** Suites to read packages from, and the one to prefer. */
export interface ArchivePlan {
  /** Text of a `sources.list` of our own. */
  list: (keyFile: (block: string) => string) => string;
  /** apt's `-t`, where the wanted version is not in the release itself. */
  target?: string;
  /** Host or path of the mirror, for messages. */
  mirror: string;
}

/**
 * Chooses archives among those the machine already uses: the release, its updates and security, and backports where the
 * release's own Mesa is too old for Dawn (Debian 12).
 * @returns `undefined` where no archive of this release is configured.
 */
export function planArchives(system: System, sources: AptSource[]): ArchivePlan | undefined {
  const { codename } = system;
  const names = [codename, ...(system.id === 'debian' ? ['stable', 'testing', 'unstable', 'sid'] : [])];
  const base = sources.find((s) => s.components.includes('main') && s.suites.some((suite) => names.includes(suite)));
  if (!base) return undefined;
  const release = base.suites.find((suite) => names.includes(suite)) as string;
  const target = system.id === 'debian' && codename === 'bookworm' ? 'bookworm-backports' : undefined;
  const wanted: [AptSource, string][] = [[base, release]];
  for (const pocket of ['updates', 'security']) {
    const suite = `${release}-${pocket}`;
    const source = sources.find((s) => s.suites.includes(suite));
    if (source) wanted.push([source, suite]);
  }
  if (target) wanted.push([sources.find((s) => s.suites.includes(target)) ?? base, target]);
  const components = system.id === 'ubuntu' ? 'main universe' : 'main';
  const list = (keyFile: (block: string) => string) =>
    wanted
      .map(([source, suite]) => {
        const options = [];
        const key = source.signedBy ?? base.signedBy;
        if (key) options.push(`signed-by=${key.includes('BEGIN PGP') ? keyFile(key) : key.replace(/\s+/g, ',')}`);
        if (source.trusted) options.push('trusted=yes');
        return `deb ${options.length > 0 ? `[${options.join(' ')}] ` : ''}${source.uri} ${suite} ${components}\n`;
      })
      .join('');
  return { list, target, mirror: base.uri };
}
