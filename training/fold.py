"""Loads the trained autoencoder with each latent channel centred and brought to one common spread.

The change is exact: quant_conv absorbs the affine map of each channel and post_quant_conv its inverse. What
is left
is one number, the config's scaling_factor, as published checkpoints have it.
"""

import json
from pathlib import Path

import torch

import data
from models import AutoencoderKL


@torch.no_grad()
def fold(vae: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor, spread: float) -> None:
    """Rewrites the 1x1 convolutions so that the new latent is (old - mean) * spread / std, per channel
    [C].
    """
    scale = spread / std
    quant, post = vae.quant_conv, vae.post_quant_conv
    n = len(scale)
    quant.weight[:n] *= scale[:, None, None, None]
    quant.bias[:n] = (quant.bias[:n] - mean) * scale
    quant.bias[n:] += 2 * scale.log()
    # Old latent = new / scale + mean.
    post.bias += (post.weight[:, :, 0, 0] * mean[None]).sum(1)
    post.weight /= scale[None, :, None, None]


@torch.no_grad()
def measure(vae: AutoencoderKL, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each latent channel over pictures."""
    means = torch.cat([vae.encode(part)[0] for part in pictures.split(64)])
    return means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))


def load_vae(out: Path) -> AutoencoderKL:
    """The EMA weights of OUT/vae.pt, folded; the statistics are measured once and kept in OUT/fold.json."""
    state = torch.load(out / 'vae.pt', map_location='cpu')
    vae = AutoencoderKL(dict(state['config']))
    vae.load_state_dict(state['ema'])
    vae.eval().requires_grad_(False)
    path = out / 'fold.json'
    # The decoder may be trained further, the encoder not: statistics belong to one encoder.
    key = float(state['ema']['encoder.conv_out.weight'].double().abs().sum())
    known = json.loads(path.read_text()) if path.exists() else {}
    if known.get('key') != key:
        mean, std = measure(vae, data.load(out / 'data', False).pictures[::4])
        known = {'key': key, 'mean': mean.tolist(), 'std': std.tolist()}
        path.write_text(json.dumps(known))
    std = torch.tensor(known['std'])
    spread = float(std.pow(2).mean().sqrt())
    fold(vae, torch.tensor(known['mean']), std, spread)
    vae.config['scaling_factor'] = float(f'{1 / spread:.6g}')
    return vae
