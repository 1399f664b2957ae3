import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One archive that the machine already uses. */
export interface AptSource {
  uri: string;
  suites: string[];
  components: string[];
  /** Keyring path or fingerprint list, or a key block; `undefined` trusts apt's default keys. */
  signedBy?: string;
  trusted?: boolean;
}

/** Parses the one-line format: `deb [signed-by=/key.gpg] URI SUITE COMPONENT…`. */
export function parseOneLine(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)([^#]*)/.exec(line);
    if (!match) continue;
    const options = new Map(
      (match[1] ?? '')
        .trim()
        .split(/\s+/)
        .map((o): [string, string] => [o.split('=')[0].toLowerCase(), o.slice(o.indexOf('=') + 1)]),
    );
    sources.push({
      uri: match[2],
      suites: [match[3]],
      components: match[4].trim().split(/\s+/).filter(Boolean),
      signedBy: options.get('signed-by'),
      trusted: options.get('trusted') === 'yes' || undefined,
    });
  }
  return sources;
}

/** Parses the deb822 format: paragraphs of `Types: URIs: Suites: Components: Signed-By:`. */
export function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = [];
  const uncommented = text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n');
  for (const paragraph of uncommented.split(/\n[ \t]*\n/)) {
    const fields = new Map<string, string>();
    let key = '';
    for (const line of paragraph.split('\n')) {
      const field = /^([A-Za-z-]+):\s*(.*)$/.exec(line);
      if (field) fields.set((key = field[1].toLowerCase()), field[2]);
      else if (key && /^\s/.test(line)) fields.set(key, `${fields.get(key)}\n${line.trim().replace(/^\.$/, '')}`);
    }
    const words = (name: string) => (fields.get(name) ?? '').split(/\s+/).filter(Boolean);
    if (!words('types').includes('deb') || fields.get('enabled')?.trim() === 'no') continue;
    for (const uri of words('uris')) {
      sources.push({
        uri,
        suites: words('suites'),
        components: words('components'),
        signedBy: fields.get('signed-by')?.trim() || undefined,
        trusted: fields.get('trusted')?.trim() === 'yes' || undefined,
      });
    }
  }
  return sources;
}

/** Every archive named under `/etc/apt` (or another folder, for tests), in both formats; empty where there is none. */
export function readAptSources(folder = '/etc/apt'): AptSource[] {
  const read = (file: string) => {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return '';
    }
  };
  const parts = join(folder, 'sources.list.d');
  let names: string[] = [];
  try {
    names = readdirSync(parts).sort();
  } catch {
    // no such folder on this system
  }
  const sources = parseOneLine(read(join(folder, 'sources.list')));
  for (const name of names) {
    if (name.endsWith('.list')) sources.push(...parseOneLine(read(join(parts, name))));
    if (name.endsWith('.sources')) sources.push(...parseDeb822(read(join(parts, name))));
  }
  return sources.filter((source) => !source.uri.startsWith('cdrom:'));
}
