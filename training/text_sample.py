"""Draws what texts say, from the exported pipeline.

usage: python3 text_sample.py "red heart" "thumbs up: dark skin tone" --png sheet.png [--weights ../weights/emoji-text]
    [--guidance 4 --steps 20 --seed 0 --each 4]       one row per text
"""

import argparse
from pathlib import Path

import torch

from common import prepare
from diffusion import ddim, guided
from sample import decode, sheet
from text_export import WEIGHTS, TextPipeline, read_pipeline


@torch.no_grad()
def sample(
    pipe: TextPipeline, prompts: list[str], noise: torch.Tensor, steps: int, guidance: float, batch: int = 64
) -> torch.Tensor:
    """Pictures [B, 3, 64, 64] in [0, 1] for texts from noise [B, 4, 16, 16]; the empty text is what guidance leaves."""
    null, out = pipe.states(['']), []
    for i in range(0, len(prompts), batch):
        states = pipe.states(prompts[i : i + batch])
        out.append(decode(pipe.vae, ddim(guided(pipe.unet, states, null, guidance), noise[i : i + batch], steps)))
    return torch.cat(out)


def noise_of(count: int, seed: int) -> torch.Tensor:
    """[count, 4, 16, 16]"""
    return torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('prompts', nargs='+')
    parser.add_argument('--weights', type=Path, default=WEIGHTS)
    parser.add_argument('--png', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--guidance', type=float, default=4.0)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--each', type=int, default=4)
    options = parser.parse_args()
    prepare('cpu')
    wanted = [p for p in options.prompts for _ in range(options.each)]
    pictures = sample(
        read_pipeline(options.weights),
        wanted,
        noise_of(len(wanted), options.seed),
        options.steps,
        options.guidance,
    )
    sheet(pictures, options.each, options.png)
