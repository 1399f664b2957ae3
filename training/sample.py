"""Samples the exported pipeline and shows it: a sheet of one row per group.

usage: python3 sample.py --weights ../weights/emoji --png sheet.png [--guidance 4 --steps 20 --seed 0 --each
    10]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from common import prepare
from data import GROUPS
from diffusion import ddim, guided
from export import read_denoiser, read_vae
from latent_training import NULL
from models import AutoencoderKL


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Scaled latents [B, 4, 16, 16] -> pictures [B, 3, 64, 64] in [0, 1]."""
    parts = (latents / vae.config['scaling_factor']).split(32)
    return torch.cat([vae.decode(part).div(2).add(0.5).clamp(0, 1).cpu() for part in parts])


def sample(
    velocity: Callable[..., torch.Tensor],
    vae: AutoencoderKL,
    labels: torch.Tensor,
    noise: torch.Tensor,
    steps: int,
    guidance: float,
) -> torch.Tensor:
    """Pictures [B, 3, 64, 64] in [0, 1] for labels [B] from noise [B, 4, 16, 16]."""
    return decode(vae, ddim(guided(velocity, labels, NULL, guidance), noise, steps))


def sheet(pictures: torch.Tensor, columns: int, path: Path) -> None:
    """Saves [N, 3, h, w] in [0, 1] as a grid."""
    n, _, h, w = pictures.shape
    rows = n // columns
    grid = pictures[: rows * columns].mul(255).round().byte().reshape(rows, columns, 3, h, w)
    Image.fromarray(grid.permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3).numpy()).save(
        path, optimize=True
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--weights', type=Path, default=Path(__file__).parent.parent / 'weights' / 'emoji')
    parser.add_argument('--png', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--guidance', type=float, default=4.0)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--each', type=int, default=10)
    options = parser.parse_args()
    prepare('cpu')
    wanted = torch.arange(len(GROUPS)).repeat_interleave(options.each)
    noise = torch.randn(len(wanted), 4, 16, 16, generator=torch.Generator().manual_seed(options.seed))
    pictures = sample(
        read_denoiser(options.weights)[0],
        read_vae(options.weights),
        wanted,
        noise,
        options.steps,
        options.guidance,
    )
    sheet(pictures, options.each, options.png)
