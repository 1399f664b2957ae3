import { expect, test } from 'vitest';
import { parseDeb822, parseOneLine } from '../../src/node/setup/aptSources.ts';
import { remedy } from '../../src/node/setup/remedy.ts';
import { planArchives, type System } from '../../src/node/setup/system.ts';

const BOOKWORM: System = {
  platform: 'linux',
  arch: 'x64',
  id: 'debian',
  codename: 'bookworm',
  triplet: 'x86_64-linux-gnu',
};

test('one-line sources: options, comments, cdrom and source lines', () => {
  const sources = parseOneLine(
    [
      '# deb http://commented.example/debian bookworm main',
      'deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://mirror.example/debian bookworm main contrib # comment',
      'deb-src http://mirror.example/debian bookworm main',
      '  deb\thttps://mirror.example/debian-security\tbookworm-security main',
      'deb [trusted=yes] file:/srv/repo ./ ',
    ].join('\n'),
  );
  expect(sources.map((s) => [s.uri, s.suites[0], s.components.join(), s.signedBy, s.trusted])).toEqual([
    ['http://mirror.example/debian', 'bookworm', 'main,contrib', '/usr/share/keyrings/a.gpg', undefined],
    ['https://mirror.example/debian-security', 'bookworm-security', 'main', undefined, undefined],
    ['file:/srv/repo', './', '', undefined, true],
  ]);
});

test('deb822 sources: several suites and mirrors, disabled paragraphs, a key in place', () => {
  const sources = parseDeb822(
    `Types: deb deb-src
# a comment in the middle
URIs: http://one.example/debian http://two.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AAAA
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://src.example/debian
Suites: bookworm
Components: main
`,
  );
  expect(sources.map((s) => s.uri)).toEqual(['http://one.example/debian', 'http://two.example/debian']);
  expect(sources[0].suites).toEqual(['bookworm', 'bookworm-updates']);
  expect(sources[0].signedBy).toBe('-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----');
});

test("Debian 12 adds backports from the machine's own mirror, with its key", () => {
  const sources = parseOneLine(`
    deb http://other.example/apt stable-things main
    deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main
    deb [signed-by=/k.gpg] http://mirror.example/security bookworm-security main`);
  const plan = planArchives(BOOKWORM, sources)!;
  expect(plan).toMatchObject({ target: 'bookworm-backports', mirror: 'http://mirror.example/debian' });
  expect(
    plan
      .list(() => '')
      .trim()
      .split('\n'),
  ).toEqual([
    'deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main',
    'deb [signed-by=/k.gpg] http://mirror.example/security bookworm-security main',
    'deb [signed-by=/k.gpg] http://mirror.example/debian bookworm-backports main',
  ]);
});

test('a key block is written to a file that the list names', () => {
  const source = { uri: 'http://m.example', suites: ['trixie'], components: ['main'], signedBy: '-BEGIN PGP-' };
  const plan = planArchives({ ...BOOKWORM, codename: 'trixie' }, [source])!;
  expect(plan.target).toBeUndefined();
  expect(plan.list((block) => `/written/${block.length}`)).toBe(
    'deb [signed-by=/written/11] http://m.example trixie main\n',
  );
});

test('Ubuntu reads universe and its pockets; a system without archives of its release has no plan', () => {
  const ubuntu = { ...BOOKWORM, id: 'ubuntu', codename: 'noble' };
  const sources = parseOneLine(
    'deb http://u.example/ubuntu noble main\ndeb http://u.example/ubuntu noble-updates main',
  );
  expect(planArchives(ubuntu, sources)!.list(() => '')).toBe(
    'deb http://u.example/ubuntu noble main universe\ndeb http://u.example/ubuntu noble-updates main universe\n',
  );
  expect(planArchives(BOOKWORM, sources)).toBeUndefined();
});

test('every system has one command per component', () => {
  const on = (id: string, platform: NodeJS.Platform = 'linux') => ({ ...BOOKWORM, id, platform, codename: '' });
  expect(remedy('lavapipe', BOOKWORM)).toMatch(/bookworm-backports.* && sudo apt-get install/);
  expect(remedy('lavapipe', on('fedora'))).toMatch(/^sudo dnf install/);
  expect(remedy('chromium', BOOKWORM)).toBe('sudo apt-get install -y chromium');
  expect(remedy('chromium', on('ubuntu'))).toBe('npx puppeteer browsers install chrome');
  expect(remedy('swiftshader', on('', 'darwin'))).toBe('npx puppeteer browsers install chrome');
  for (const id of ['debian', 'ubuntu', 'arch', 'opensuse-leap', 'gentoo', '']) {
    expect(remedy('lavapipe', on(id)).split('\n')).toHaveLength(1);
  }
});
