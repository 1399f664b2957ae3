"""Writes the trained autoencoder with a codebook in published layout, all weights f16, and records what PyTorch makes
of them so that another engine can be compared with it.

usage: python3 vq_export.py --out DIR --weights ../weights/emoji-vq
writes WEIGHTS/config.json, WEIGHTS/diffusion_pytorch_model.safetensors and WEIGHTS-reference.
"""

import argparse
from pathlib import Path

import torch

import data
import safetensors_io
from common import prepare
from export import read_model, write_json, write_model
from vq import latents
from vq_model import CHUNK, VQModel, as_rows

WEIGHTS = Path(__file__).parent.parent / 'weights' / 'emoji-vq'
GROUPS = (0, 2, 4, 8)  # one picture of each of these groups is recorded
ARITHMETIC = {
    'image': 'in.image [-1, 1]: of each of four groups the first held out, in the order of the list',
    'latents': 'out.latents = quant_conv(encoder(image)), not quantised',
    'indices': 'out.indices [B, 16, 16]: argmin over k of |latent - entry k|^2; out.margin: that of the second nearest '
    'entry minus that of the nearest one, in f64 from out.latents; where it is of the size of roundings of |latent|^2 '
    'in f32, another order of additions may choose the other entry',
    'decoded': 'out.decoded = decode(the entries of out.indices), not clamped',
}


def load(out: Path) -> VQModel:
    """The averaged weights of OUT/vq.pt; scaling_factor brings its latents to unit variance, as for the KL one."""
    state = torch.load(out / 'vq.pt', map_location='cpu')
    model = VQModel(dict(state['config']))
    model.load_state_dict(state['ema'])
    model.eval().requires_grad_(False)
    spread = latents(model, data.load(out / 'data', False).pictures[::4], 'cpu').var(0).mean().sqrt().item()
    model.config['scaling_factor'] = float(f'{1 / spread:.6g}')
    return model


@torch.no_grad()
def margins(model: VQModel, z: torch.Tensor) -> torch.Tensor:
    """Squared distance to the second nearest entry minus that to the nearest, for z [B, E, h, w] -> [B, h, w]."""
    entries, rows = model.quantize.embedding.weight.double(), as_rows(z).double()
    two = [torch.cdist(part, entries).topk(2, largest=False).values for part in rows.split(CHUNK)]
    first, second = torch.cat(two).square().unbind(1)
    return (second - first).float().view(z.shape[0], *z.shape[2:])


@torch.no_grad()
def record(out: Path, weights: Path) -> None:
    """Four held-out pictures, their latents, indices and what is decoded from the indices."""
    model, held = read_model(weights, VQModel), data.load(out / 'data', True)
    chosen = torch.stack([held.pictures[held.labels == g][0] for g in GROUPS])
    z = model.encode(chosen)
    codes, margin = model.quantize.indices(z), margins(model, z)
    tensors = {
        'in.image': chosen,
        'out.latents': z,
        'out.indices': codes.int(),
        'out.margin': margin,
        'out.decoded': model.decode_indices(codes),
    }
    folder = weights.with_name(weights.name + '-reference')
    folder.mkdir(parents=True, exist_ok=True)
    safetensors_io.save(tensors, folder / 'io.safetensors')
    write_json(
        folder / 'config.json',
        {
            'groups': [data.GROUPS[g] for g in GROUPS],
            'cells': codes.numel(),
            'smallestMargin': margin.min().item(),
            'weights': 'f16 as stored',
            'computation': 'f32',
            'torch': torch.__version__,
            'arithmetic': ARITHMETIC,
        },
    )
    print('recorded', (folder / 'io.safetensors').stat().st_size, 'bytes; smallest margin', margin.min().item())


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=WEIGHTS)
    options = parser.parse_args()
    prepare('cpu')
    vq = load(options.out)
    print('weights', write_model(options.weights, vq, vq.config), 'bytes')
    record(options.out, options.weights)
