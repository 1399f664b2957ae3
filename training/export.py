"""Writes the trained pipeline in published layout: model_index.json, unet/, vae/, scheduler/, all weights
f16.

usage: python3 export.py --out DIR --weights ../weights/emoji [--untrained]
The model card is written by card.py, the recorded samples by reference.py.
"""

import argparse
import json
from pathlib import Path

import torch

import safetensors_io
from data import GROUPS
from diffusion import SCHEDULER_CONFIG
from fold import load_vae
from latent_training import NULL
from models import VERSION, UNet2D
from unet import CONFIG

WEIGHTS_FILE = 'diffusion_pytorch_model.safetensors'


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + '\n')


def write_model(folder: Path, model: torch.nn.Module, config: dict) -> int:
    """config.json and the weights in f16; returns the bytes of the weights file."""
    write_json(folder / 'config.json', dict(sorted(config.items())))
    tensors = {name: value.half() for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ValueError(f'export: {name} is not finite in f16')
    safetensors_io.save(tensors, folder / WEIGHTS_FILE)
    return (folder / WEIGHTS_FILE).stat().st_size


def read_model(folder: Path, model_class: type[torch.nn.Module]) -> torch.nn.Module:
    """A model as exported: f16 weights widened to f32, so that computation is f32."""
    model = model_class(json.loads((folder / 'config.json').read_text()))
    model.load_state_dict({k: v.float() for k, v in safetensors_io.load(folder / WEIGHTS_FILE).items()})
    return model.eval().requires_grad_(False)


def export(out: Path, weights: Path, untrained: bool = False) -> None:
    """Writes the whole folder; `untrained` exports a random U-Net of the final shape."""
    vae = load_vae(out)
    torch.manual_seed(0)
    unet = UNet2D(CONFIG)
    if not untrained:
        unet.load_state_dict(torch.load(out / 'unet.pt', map_location='cpu')['ema'])
    write_json(
        weights / 'model_index.json',
        {
            '_class_name': 'ClassLatentDiffusionPipeline',
            '_diffusers_version': VERSION,
            'id2label': {str(i): name for i, name in enumerate(GROUPS)},
            'null_label': NULL,
            'scheduler': ['diffusers', 'DDIMScheduler'],
            'unet': ['diffusers', 'UNet2DModel'],
            'vae': ['diffusers', 'AutoencoderKL'],
        },
    )
    write_json(weights / 'scheduler' / 'scheduler_config.json', SCHEDULER_CONFIG)
    sizes = write_model(weights / 'vae', vae, vae.config), write_model(weights / 'unet', unet, CONFIG)
    print('vae and unet:', sizes, 'bytes')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=Path(__file__).parent.parent / 'weights' / 'emoji')
    parser.add_argument('--untrained', action='store_true')
    options = parser.parse_args()
    export(options.out, options.weights, options.untrained)
