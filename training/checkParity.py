"""Compares the PyTorch models with recorded outputs of the reference implementation.

usage: python3 checkParity.py DIR    (DIR as test/fixtures: manifest.json and one folder per case)
"""

import json
import sys
from pathlib import Path

import torch

import safetensors_io
from clip_model import CLIPText
from condition_model import ConditionUNet
from dit_model import DiT
from models import AutoencoderKL, UNet2D
from vq_model import VQModel

CASES = (
    'unet2d_class_f16',
    'unet2d_ddpm_cifar',
    'vae_kl_sd',
    'vq_ldm',
    'dit_xl2',
    'unet_cond_sd15',
    'unet_cond_sd21',
    'clip_text',
)
CLASSES = {
    'UNet2DModel': UNet2D,
    'UNet2DConditionModel': ConditionUNet,
    'AutoencoderKL': AutoencoderKL,
    'VQModel': VQModel,
    'Transformer2DModel': DiT,
    'CLIPTextModel': CLIPText,
}
UNLISTED = 1e-4  # where the manifest says nothing: indices are off by a whole one or not at all


@torch.no_grad()
def outputs(folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Runs one case; returns (ours, recorded) under the output's name."""
    config = json.loads((folder / 'config.json').read_text())
    name = config.get('_class_name') or config['architectures'][0]
    model = CLASSES[name](config).eval()
    file = 'model.safetensors' if isinstance(model, CLIPText) else 'diffusion_pytorch_model.safetensors'
    weights = safetensors_io.load(folder / file)
    # Older files of text models also hold the row 0, 1, 2, ... of positions.
    weights = {name: value.float() for name, value in weights.items() if not name.endswith('.position_ids')}
    model.load_state_dict(weights)
    io = safetensors_io.load(folder / 'io.safetensors')
    if isinstance(model, UNet2D):
        labels = io['in.class_labels'].long() if 'in.class_labels' in io else None
        ours = {'out.out': model(io['in.sample'], io['in.timestep'], labels)}
    elif isinstance(model, ConditionUNet):
        ours = {'out.out': model(io['in.sample'], io['in.timestep'], io['in.encoder_hidden_states'])}
    elif isinstance(model, CLIPText):
        states, pooled = model(io['in.input_ids'].long())
        ours = {'out.last_hidden_state': states, 'out.pooler_output': pooled}
    elif isinstance(model, DiT):
        labels = io['in.class_labels'].long()
        ours = {'out.out': model(io['in.hidden_states'], io['in.timestep'], labels)}
    elif isinstance(model, VQModel):
        latents = model.encode(io['in.image'])
        codes, other = model.quantize.indices(latents), model.quantize.indices(io['in.latent'])
        ours = {
            'out.latents': latents,
            'out.indices': codes,
            'out.quantized': model.quantize.entries(codes),
            'out.decoded': model.decode_indices(codes),
            'out.decoded_from_latent': model.decode_indices(other),
            'out.decoded_force_not_quantize': model.decode(io['in.latent']),
        }
    else:
        mean, logvar = model.encode(io['in.image'])
        ours = {'out.mean': mean, 'out.logvar': logvar, 'out.decoded': model.decode(io['in.latent'])}
    return {name: (value, io[name]) for name, value in ours.items()}


def main() -> int:
    root = Path(sys.argv[1])
    manifest = json.loads((root / 'manifest.json').read_text())['cases']
    entries = (
        manifest
        if isinstance(manifest, dict)
        else {case.get("name", case.get("case")): case for case in manifest}
    )
    failed = 0
    for case in CASES:
        worst = max(float((a - b).abs().max()) for a, b in outputs(root / case).values())
        tolerance = entries.get(case, {}).get('tol_abs_hint', UNLISTED)
        failed += worst > tolerance
        print('fail' if worst > tolerance else 'pass', case, f'{worst:.2e}', tolerance)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
