"""Builds the picture set: every fully-qualified emoji of Noto Color Emoji, 64x64 RGB on white, with name and
group.

usage: python3 data.py --out DIR      writes DIR/data/emoji.npz and DIR/data/emoji.json
Needs fonts-noto-color-emoji, unicode-data, python3-pil (with raqm, which joins ZWJ and flag sequences).
"""

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

FONT = '/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf'
LIST = '/usr/share/unicode/emoji/emoji-test.txt'
STRIKE = 109  # the only bitmap size of the font; its glyphs are 136 x 128
CELL = (136, 128)
SIZE = 64
HELD_OUT = 0.05
# "Component" (bare skin tones and hair) holds no fully-qualified emoji, so nine groups remain.
GROUPS = (
    'Smileys & Emotion',
    'People & Body',
    'Animals & Nature',
    'Food & Drink',
    'Travel & Places',
    'Activities',
    'Objects',
    'Symbols',
    'Flags',
)
# Mirroring these would teach mirrored writing and flags that do not exist.
NEVER_MIRRORED = (GROUPS.index('Symbols'), GROUPS.index('Flags'))


@dataclass
class Emoji:
    text: str
    name: str
    group: str
    subgroup: str


def read_list(path: str) -> list[Emoji]:
    """The fully-qualified entries of Unicode's emoji-test.txt, in its order."""
    out, group, subgroup = [], '', ''
    for line in Path(path).read_text(encoding='utf-8').splitlines():
        if line.startswith('# group:'):
            group = line.split(':', 1)[1].strip()
        elif line.startswith('# subgroup:'):
            subgroup = line.split(':', 1)[1].strip()
        elif '; fully-qualified' in line:
            codes, rest = line.split(';', 1)
            name = rest.split('#', 1)[1].strip().split(' ', 2)[2]
            out.append(Emoji(''.join(chr(int(c, 16)) for c in codes.split()), name, group, subgroup))
    return out


def held_out(name: str) -> bool:
    """A fixed choice of about 5 % of the names, independent of order and font version."""
    digest = hashlib.sha256(f'daguerre:{name}'.encode()).digest()
    return int.from_bytes(digest[:8], 'big') < HELD_OUT * 2**64


def draw(font: ImageFont.FreeTypeFont, text: str) -> np.ndarray | None:
    """One emoji as [64, 64, 3] u8, the long side 62 pixels, centred; None where the font has no single
    glyph.
    """
    if font.getlength(text) > CELL[0]:
        return None
    glyph = Image.new('RGBA', CELL, (255, 255, 255, 0))
    left, top, _, _ = font.getbbox(text)
    ImageDraw.Draw(glyph).text((-left, -top), text, font=font, embedded_color=True)
    if np.asarray(glyph)[..., 3].max() == 0:
        return None
    # Premultiplied onto white before resizing: a transparent pixel's hidden colour must not bleed into edges.
    flat = Image.new('RGB', (CELL[0], CELL[0]), 'white')
    flat.paste(glyph, (0, (CELL[0] - CELL[1]) // 2), glyph)
    return np.asarray(flat.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def build(out: Path, font_path: str = FONT, list_path: str = LIST) -> None:
    """Draws the whole set and writes pictures, labels, split and names."""
    font = ImageFont.truetype(font_path, STRIKE, layout_engine=ImageFont.Layout.RAQM)
    pictures, kept, missing = [], [], []
    for emoji in read_list(list_path):
        picture = draw(font, emoji.text)
        if picture is None:
            missing.append(emoji.name)
            continue
        pictures.append(picture)
        kept.append(emoji)
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out / 'emoji.npz',
        pictures=np.stack(pictures),
        labels=np.array([GROUPS.index(e.group) for e in kept]),
        held_out=np.array([held_out(e.name) for e in kept]),
    )
    (out / 'emoji.json').write_text(
        json.dumps(
            {
                'groups': GROUPS,
                'missing': missing,
                'emoji': [[e.text, e.name, e.group, e.subgroup] for e in kept],
            },
            ensure_ascii=False,
            indent=0,
        )
    )
    counts = {g: sum(e.group == g for e in kept) for g in GROUPS}
    print(
        len(kept), 'pictures,', sum(held_out(e.name) for e in kept), 'held out;', counts, 'missing', missing
    )


@dataclass
class PictureSet:
    """pictures [N, 3, 64, 64] in [-1, 1], labels [N] (index into GROUPS)."""

    pictures: torch.Tensor
    labels: torch.Tensor


def load(out: Path, held: bool) -> PictureSet:
    """The training part, or the held-out part, of the set built under `out`."""
    data = np.load(out / 'emoji.npz')
    keep = data['held_out'] == held
    pictures = torch.from_numpy(data['pictures'][keep]).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return PictureSet(pictures.contiguous(), torch.from_numpy(data['labels'][keep]).long())


def can_mirror(labels: torch.Tensor) -> torch.Tensor:
    """Which pictures may be mirrored, [N] bool."""
    return torch.stack([labels != g for g in NEVER_MIRRORED]).all(dim=0)


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--font', default=FONT)
    parser.add_argument('--list', default=LIST)
    options = parser.parse_args()
    build(options.out / 'data', options.font, options.list)
