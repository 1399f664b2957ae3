"""Writes the trained pipeline in published layout: model_index.json, unet/ or transformer/, vae/, scheduler/, all
weights f16.

usage: python3 export.py --out DIR --weights ../weights/emoji [--denoiser unet|dit] [--untrained]
The model card is written by card.py, the recorded samples by reference.py.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import dit
import safetensors_io
import unet
from data import GROUPS
from diffusion import SCHEDULER_CONFIG
from dit_model import DiT
from fold import load_vae
from latent_training import NULL
from models import VERSION, AutoencoderKL, UNet2D

WEIGHTS_FILE = 'diffusion_pytorch_model.safetensors'

# By the name of the checkpoint: folder, class and config of the denoiser, and what else model_index.json says.
DENOISERS = {
    'unet': ('unet', UNet2D, unet.CONFIG, {'_class_name': 'ClassLatentDiffusionPipeline', 'null_label': NULL}),
    'dit': ('transformer', DiT, dit.CONFIG, {'_class_name': 'DiTPipeline'}),
}


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + '\n')


def write_model(folder: Path, model: torch.nn.Module, config: dict, file: str = WEIGHTS_FILE) -> int:
    """config.json and the weights in f16; returns the bytes of the weights file."""
    write_json(folder / 'config.json', dict(sorted(config.items())))
    tensors = {name: value.half() for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ValueError(f'export: {name} is not finite in f16')
    safetensors_io.save(tensors, folder / file)
    return (folder / file).stat().st_size


def read_model(folder: Path, model_class: type[torch.nn.Module], file: str = WEIGHTS_FILE) -> torch.nn.Module:
    """A model as exported: f16 weights widened to f32, so that computation is f32."""
    model = model_class(json.loads((folder / 'config.json').read_text()))
    model.load_state_dict({k: v.float() for k, v in safetensors_io.load(folder / file).items()})
    return model.eval().requires_grad_(False)


def read_denoiser(weights: Path) -> tuple[Callable[[Tensor, Tensor, Tensor], Tensor], torch.nn.Module]:
    """velocity(x, timestep, labels) of an exported pipeline, without a variance if it says one; and the network."""
    folder, model_class = next((f, c) for f, c, *_ in DENOISERS.values() if (weights / f).is_dir())
    model = read_model(weights / folder, model_class)
    return lambda x, t, labels: model(x, t, labels)[:, : x.shape[1]], model


def read_vae(weights: Path) -> AutoencoderKL:
    return read_model(weights / 'vae', AutoencoderKL)


def export(out: Path, weights: Path, denoiser: str = 'unet', untrained: bool = False) -> None:
    """Writes the whole folder; `untrained` exports a random denoiser of the final shape."""
    folder, model_class, config, index = DENOISERS[denoiser]
    vae = load_vae(out)
    torch.manual_seed(0)
    model = model_class(config)
    if not untrained:
        model.load_state_dict(torch.load(out / f'{denoiser}.pt', map_location='cpu')['ema'])
    write_json(
        weights / 'model_index.json',
        dict(
            sorted(
                {
                    **index,
                    '_diffusers_version': VERSION,
                    'id2label': {str(i): name for i, name in enumerate(GROUPS)},
                    'scheduler': ['diffusers', 'DDIMScheduler'],
                    folder: ['diffusers', config['_class_name']],
                    'vae': ['diffusers', 'AutoencoderKL'],
                }.items()
            )
        ),
    )
    write_json(weights / 'scheduler' / 'scheduler_config.json', SCHEDULER_CONFIG)
    sizes = write_model(weights / 'vae', vae, vae.config), write_model(weights / folder, model, config)
    print(f'vae and {folder}:', sizes, 'bytes')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=Path(__file__).parent.parent / 'weights' / 'emoji')
    parser.add_argument('--denoiser', choices=list(DENOISERS), default='unet')
    parser.add_argument('--untrained', action='store_true')
    options = parser.parse_args()
    export(options.out, options.weights, options.denoiser, options.untrained)
