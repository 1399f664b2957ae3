"""Records what PyTorch makes of the exported weights, so that another engine can be compared with it.

usage: python3 reference.py --out DIR --weights ../weights/emoji [--guidance 4]
writes WEIGHTS-reference/io.safetensors and WEIGHTS-reference/config.json (which states the arithmetic).
Weights are the exported f16 values, everything is computed in f32 on the CPU.
"""

import argparse
from pathlib import Path

import torch

import data
import safetensors_io
from common import prepare
from diffusion import ddim, guided, timesteps
from export import read_denoiser, read_vae, write_json
from latent_training import NULL
from sample import decode

STEPS, GUIDANCE, SEED = 20, 4.0, 0
ARITHMETIC = {
    'noise': 'torch.randn(9, 4, 16, 16, generator=torch.Generator().manual_seed(seed)), CPU, f32',
    'labels': 'in.labels; the null label is the last embedding; both halves of the guidance in one batch',
    'guidance': 'v = v(null) + guidance * (v(label) - v(null))',
    'timesteps': 'trailing: round(1000 - i * 1000 / steps) - 1 for i = 0 .. steps - 1',
    'step': 'a = alphaBar[t], p = alphaBar[t - 1000 / steps], or 1 below index 0; '
    'x0 = sqrt(a) x - sqrt(1 - a) v; eps = sqrt(a) v + sqrt(1 - a) x; x = sqrt(p) x0 + sqrt(1 - p) eps',
    'latents': 'out.latents: x after the last step, still scaled; out.afterStep [steps, 4, 16, 16]: row 0',
    'image': 'clamp(decode(latents / scaling_factor) / 2 + 0.5, 0, 1)',
    'reconstruction': 'vae.image in [-1, 1]; vae.mean, vae.logvar = encode(image), without scaling_factor; '
    'vae.decoded = decode(mean), not clamped',
}


@torch.no_grad()
def record(out: Path, weights: Path, guidance: float) -> None:
    """One guided sample per group and four held-out reconstructions."""
    prepare('cpu')
    velocity, vae = read_denoiser(weights)[0], read_vae(weights)
    labels = torch.arange(NULL)
    noise = torch.randn(NULL, 4, 16, 16, generator=torch.Generator().manual_seed(SEED))
    path: list[torch.Tensor] = []
    latents = ddim(guided(velocity, labels, NULL, guidance), noise, STEPS, lambda t, x: path.append(x[0].clone()))
    held = data.load(out / 'data', True)
    # One picture of each of four groups, the first held out in the list's order.
    chosen = torch.stack([held.pictures[held.labels == g][0] for g in (0, 2, 4, 8)])
    mean, logvar = vae.encode(chosen)
    tensors = {
        'in.noise': noise,
        'in.labels': labels.int(),
        'out.latents': latents,
        'out.image': decode(vae, latents),
        'out.afterStep': torch.stack(path),
        'vae.image': chosen,
        'vae.mean': mean,
        'vae.logvar': logvar,
        'vae.decoded': vae.decode(mean),
    }
    folder = weights.with_name(weights.name + '-reference')
    write_json(
        folder / 'config.json',
        {
            'seed': SEED,
            'numInferenceSteps': STEPS,
            'guidanceScale': guidance,
            'eta': 0,
            'nullLabel': NULL,
            'timesteps': timesteps(STEPS),
            'weights': 'f16 as stored',
            'computation': 'f32',
            'torch': torch.__version__,
            'arithmetic': ARITHMETIC,
        },
    )
    safetensors_io.save(tensors, folder / 'io.safetensors')
    print((folder / 'io.safetensors').stat().st_size, 'bytes')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=Path(__file__).parent.parent / 'weights' / 'emoji')
    parser.add_argument('--guidance', type=float, default=GUIDANCE)
    options = parser.parse_args()
    record(options.out, options.weights, options.guidance)
