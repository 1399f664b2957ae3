"""What the emoji are called: the names as captions, other ways to say them, and the combinations that training never
sees.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TONES = ('light', 'medium-light', 'medium', 'medium-dark', 'dark')
TONE = re.compile(r'(?:medium-light|medium-dark|light|medium|dark) skin tone')
# Colour x shape and gesture x skin tone: of each, both halves are in training with other partners.
COLOURED = (
    'purple heart',
    'orange heart',
    'green square',
    'yellow square',
    'orange circle',
    'blue circle',
    'green book',
    'large blue diamond',
)
GESTURES = (
    ('thumbs up', 'dark'),
    ('thumbs down', 'light'),
    ('waving hand', 'medium-light'),
    ('raised fist', 'medium-dark'),
    ('victory hand', 'medium'),
    ('clapping hands', 'dark'),
    ('folded hands', 'medium-dark'),
    ('OK hand', 'light'),
    ('crossed fingers', 'medium'),
    ('call me hand', 'medium-light'),
    ('raised hand', 'dark'),
    ('vulcan salute', 'light'),
    ('flexed biceps', 'medium-dark'),
    ('oncoming fist', 'medium'),
    ('sign of the horns', 'dark'),
    ('index pointing up', 'medium-light'),
)
HELD_OUT = frozenset(COLOURED) | {f'{gesture}: {tone} skin tone' for gesture, tone in GESTURES}
# Pictures whose mirror image is called something else, or nothing.
HANDED = re.compile(r'left|right|clock|thirty|: .*, .*skin tone|keyboard|book|Japan|button|sign\b|ATM|dollar')
NEVER_MIRRORED = ('Symbols', 'Flags')


@dataclass
class Emoji:
    """One picture's words. `family`: the name without skin tones, which its variants share."""

    name: str
    group: str
    subgroup: str
    family: str

    @property
    def held_out(self) -> bool:
        return self.name in HELD_OUT

    @property
    def toned(self) -> bool:
        return TONE.search(self.name) is not None

    @property
    def mirrors(self) -> bool:
        return self.group not in NEVER_MIRRORED and not HANDED.search(self.name)


def family_of(name: str) -> str:
    """The name without its skin tones: "kiss: man, man, dark skin tone" is of "kiss: man, man"."""
    base, colon, rest = name.partition(': ')
    if not colon:
        return name
    kept = [part for part in rest.split(', ') if not TONE.fullmatch(part)]
    return f"{base}: {', '.join(kept)}" if kept else base


def read(folder: Path) -> list[Emoji]:
    """The whole list of a data folder, in its order."""
    rows = json.loads((folder / 'emoji.json').read_text())['emoji']
    return [Emoji(name, group, subgroup, family_of(name)) for _, name, group, subgroup in rows]


def pictures(folder: Path) -> Tensor:
    """All pictures of a data folder, [N, 3, 64, 64] in [-1, 1]."""
    stored = torch.from_numpy(np.load(folder / 'emoji.npz')['pictures'])
    return stored.permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def weights(emoji: list[Emoji]) -> Tensor:
    """How often each is drawn: a family of n in proportion to the root of n, the held-out ones never; [N]."""
    sizes: dict[str, int] = {}
    for e in emoji:
        sizes[e.family] = sizes.get(e.family, 0) + 1
    return torch.tensor([0.0 if e.held_out else sizes[e.family] ** -0.5 for e in emoji])


def ways(e: Emoji) -> list[str]:
    """The name, then other ways to ask for the same picture."""
    base, colon, rest = e.name.partition(': ')
    kind = re.sub(r'[-&]+', ' ', e.subgroup)
    out = [e.name, f'{e.name}, {kind}']
    if not colon:
        return out + [f'a {e.name}', f'{e.name} emoji']
    if base == 'flag':
        return out + [f'{rest} flag', f'flag of {rest}']
    parts = rest.split(', ')
    out += [f"{base}, {', '.join(parts)}", f"{', '.join(parts)}, {base}"]
    if len(parts) == 1:
        out.append(f'{base} with {rest}' if TONE.fullmatch(rest) else f'{base} {rest}')
    return out
