"""Measures the exported autoencoder with a codebook and writes its model card: README.md, figures.json, curves.png and
reconstructions.png.

usage: python3 vq_card.py --out DIR --weights ../weights/emoji-vq      after vq_export.py
"""

import argparse
import json
from pathlib import Path

import matplotlib
import torch

import data
from codebook import usage
from common import prepare, psnr
from export import read_model
from models import parameters_of
from sample import sheet
from vq import COMMITMENT, LOG_MSE, reconstruct
from vq_export import WEIGHTS
from vq_model import VQModel

matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)

CARD = '''---
license: other
license_name: see-below
tags: [autoencoder, vector-quantisation, webgpu]
---
# Emoji codes: a small autoencoder with a codebook

Turns a 64x64 picture into 16x16 indices of a codebook with {entries:,} entries of {width} numbers and back:
{bits} bits for each 4x4 pixels, {bytes} bytes for a picture of 12,288. Class `VQModel`, {weights:,} weights,
{size:.1f} MB in f16.

![held-out pictures, and below each what its indices give](reconstructions.png)

## Use
```js
const model = await VQModel.load(device, source);
const codes = await model.encodeToIndices({{ image }}); // [B, 3, 64, 64] in -1 ... 1 -> [B, 16, 16]
const indices = {{ data: await codes.read(), shape: codes.shape }};
const picture = await model.decodeIndices({{ indices }}); // [B, 3, 64, 64], to be clamped to -1 ... 1
```
Any size that is a multiple of 4 works; it was trained on 64x64. `scaling_factor` {scaling} brings latents to unit
variance for a diffusion model; the autoencoder itself scales nothing. `../emoji-vq-reference` holds what PyTorch makes
of these weights in f32: indices, decoded pictures, and how clear the choice of each index was.

## Figures
| what | measured |
| --- | --- |
| held-out reconstruction, PSNR, mean / median / worst of {held_count} | {mean:.2f} / {median:.2f} / {worst:.2f} dB |
| the same of the {training_count:,} training pictures, mean | {training_mean:.2f} dB |
| entries used by the held-out pictures ({held_cells:,} cells) | {held_use} |
| entries used by all {all_count:,} pictures ({all_cells:,} cells) | {all_use} |
| the KL autoencoder it started from (`../emoji/vae`, same trunk, not quantised), held out, mean | {kl:.2f} dB |

Held-out PSNR by group, mean: {groups}.

Command (in `training/`): `python3 vq_card.py --out DIR`.

## Data and licences
- Pictures: all {all_count:,} fully-qualified emoji of Noto Color Emoji {font_version}(SIL Open Font
  License 1.1, copyright Google), its 136x128 bitmaps resized to 64x64 on white. {held_count} of them (5 %,
  chosen by a hash of the name) were held out, here and in the training that this one started from.
- The weights and this card are under the project's licence; the pictures the model was trained on keep
  theirs.

## Training
{steps:,} steps of {batch} pictures, {minutes:.0f} minutes on {cpus}, from the weights of `../emoji/vae` as
they were before f16 (its card says how those came about) and a codebook from k-means of its latents.
Straight-through gradients, {commitment} times the commitment loss, entries as moving averages of their
latents (decay 0.99), unused ones restarted during the first 70 %; at the end three rounds of k-means with
the averaged encoder. Loss L1 + {log_mse} log MSE of each picture; AdamW {rate:g}, cosine to 0, EMA 0.998;
bf16 arithmetic with f32 weights; pictures moved by up to two pixels, and mirrored except symbols and flags.
No perceptual or adversarial loss: edges are a little soft.

![training curves](curves.png)

## Limits
It knows emoji on white. More than half of the set are variants (skin tone, gender) of the same pictures,
so held-out pictures often have near relatives in training and the held-out figures flatter the model. Fine
lines and writing are blurred. Not a general image model.
'''


def measure(model: VQModel, out: Path) -> tuple[dict, torch.Tensor]:
    """The figures of the card, and the held-out reconstructions [N, 3, 64, 64]."""
    training, held = data.load(out / 'data', False), data.load(out / 'data', True)
    size = model.config['num_vq_embeddings']
    ours, codes = reconstruct(model, held.pictures, 'cpu')
    seen, others = reconstruct(model, training.pictures, 'cpu')
    quality = psnr(ours, held.pictures)
    figures = {
        'heldOutPsnr': {
            'mean': quality.mean().item(),
            'median': quality.median().item(),
            'worst': quality.min().item(),
            'pictures': len(quality),
            'groups': {name: quality[held.labels == i].mean().item() for i, name in enumerate(data.GROUPS)},
        },
        'trainingPsnr': {'mean': psnr(seen, training.pictures).mean().item(), 'pictures': len(seen)},
        'heldOutCodes': {**usage(codes, size), 'cells': codes.numel()},
        'allCodes': {**usage(torch.cat([codes, others]), size), 'cells': codes.numel() + others.numel()},
    }
    return figures, ours


def pairs(ours: torch.Tensor, held: data.PictureSet, path: Path, columns: int = 10, rows: int = 4) -> None:
    """Held-out pictures spread over the groups, each above its reconstruction."""
    order = torch.argsort(held.labels, stable=True)
    chosen = order[torch.linspace(0, len(order) - 1, columns * rows).long()]
    stacked = torch.stack([held.pictures[chosen], ours[chosen]], dim=1).view(rows, columns, 2, *ours.shape[1:])
    grid = stacked.permute(0, 2, 1, 3, 4, 5).reshape(-1, *ours.shape[1:])
    sheet(grid.clamp(-1, 1) / 2 + 0.5, columns, path)


def curves(rows: list[dict], path: Path) -> None:
    """Held-out PSNR, training loss and codebook use over steps."""
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.2), dpi=80)
    steps = [row['step'] for row in rows]
    for axis, values, title in (
        (axes[0], [row['psnr'] for row in rows], 'held-out PSNR, dB'),
        (axes[1], [row['loss'] for row in rows], 'L1 + 0.05 log MSE in training'),
        (axes[2], [row['heldOutCodes']['perplexity'] for row in rows], 'perplexity of the held-out codes'),
    ):
        points = [point for point in zip(steps, values) if point[1] is not None]
        axis.plot(*zip(*points), color='#1f6f8b', marker='.')
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('steps')
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def use_of(codes: dict) -> str:
    return f"{codes['used']:,} of {codes['of']:,}, perplexity {codes['perplexity']:,.0f}"


def write(options: argparse.Namespace) -> None:
    weights = options.weights
    model, state = read_model(weights, VQModel), torch.load(options.out / 'vq.pt', map_location='cpu')
    figures, ours = measure(model, options.out)
    (weights / 'figures.json').write_text(json.dumps(figures, indent=2) + '\n')
    print(json.dumps(figures, indent=2))
    pairs(ours, data.load(options.out / 'data', True), weights / 'reconstructions.png')
    curves(state['curve'], weights / 'curves.png')
    entries = model.config['num_vq_embeddings']
    bits = (entries - 1).bit_length()
    held, codes, every = figures['heldOutPsnr'], figures['heldOutCodes'], figures['allCodes']
    kl = json.loads((weights.parent / 'emoji' / 'figures.json').read_text())['vaeHeldOutPsnr']['mean']
    (weights / 'README.md').write_text(
        CARD.format(
            entries=entries,
            width=model.quantize.embedding.weight.shape[1],
            bits=bits,
            bytes=16 * 16 * bits // 8,
            weights=parameters_of(model),
            size=sum(f.stat().st_size for f in weights.glob('*.safetensors')) / 1e6,
            scaling=model.config['scaling_factor'],
            held_count=held['pictures'],
            mean=held['mean'],
            median=held['median'],
            worst=held['worst'],
            training_count=figures['trainingPsnr']['pictures'],
            training_mean=figures['trainingPsnr']['mean'],
            held_cells=codes['cells'],
            held_use=use_of(codes),
            all_count=held['pictures'] + figures['trainingPsnr']['pictures'],
            all_cells=every['cells'],
            all_use=use_of(every),
            kl=kl,
            groups=', '.join(f'{name} {db:.1f}' for name, db in held['groups'].items()),
            font_version=options.font_version,
            steps=state['step'],
            batch=state['batch'],
            minutes=state['used'] / 60,
            cpus=options.hardware,
            commitment=COMMITMENT,
            log_mse=LOG_MSE,
            rate=state['rate'],
        )
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=WEIGHTS)
    parser.add_argument('--hardware', default='two shared CPU cores')
    parser.add_argument('--font-version', default='2.042 ')
    chosen = parser.parse_args()
    prepare('cpu')
    write(chosen)
