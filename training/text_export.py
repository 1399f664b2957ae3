"""Writes text -> emoji as a StableDiffusionPipeline folder: model_index.json, tokenizer/, text_encoder/, unet/, vae/,
scheduler/, all weights f16.

usage: python3 text_export.py --out DIR [--weights ../weights/emoji-text]
The recorded samples are written by text_reference.py, figures by text_figures.py, the model card by text_card.py.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

import text_unet
from clip_model import CLIPText
from clip_tokenizer import ClipTokenizer
from condition_model import ConditionUNet
from diffusion import SCHEDULER_CONFIG
from export import read_model, read_vae, write_json, write_model
from fold import load_vae
from models import VERSION, AutoencoderKL

TEXT_FILE = 'model.safetensors'
WEIGHTS = Path(__file__).parent.parent / 'weights' / 'emoji-text'


@dataclass
class TextPipeline:
    """An exported folder, opened: f16 weights widened to f32."""

    tokenizer: ClipTokenizer
    text: CLIPText
    unet: ConditionUNet
    vae: AutoencoderKL

    @torch.no_grad()
    def states(self, prompts: list[str]) -> torch.Tensor:
        """[B, T, D]"""
        return self.text(torch.tensor([self.tokenizer.encode(p) for p in prompts]))[0]


def read_pipeline(weights: Path) -> TextPipeline:
    return TextPipeline(
        ClipTokenizer.load(weights / 'tokenizer'),
        read_model(weights / 'text_encoder', CLIPText, TEXT_FILE),
        read_model(weights / 'unet', ConditionUNet),
        read_vae(weights),
    )


def export(out: Path, weights: Path) -> None:
    vae = load_vae(out)
    text, tokenizer = text_unet.load_text(out)
    unet = ConditionUNet(text_unet.CONFIG)
    unet.load_state_dict(torch.load(out / 'text_unet.pt', map_location='cpu')['ema'])
    index = {
        '_class_name': 'StableDiffusionPipeline',
        '_diffusers_version': VERSION,
        'feature_extractor': [None, None],
        'image_encoder': [None, None],
        'requires_safety_checker': False,
        'safety_checker': [None, None],
        'scheduler': ['diffusers', 'DDIMScheduler'],
        'text_encoder': ['transformers', 'CLIPTextModel'],
        'tokenizer': ['transformers', 'CLIPTokenizer'],
        'unet': ['diffusers', 'UNet2DConditionModel'],
        'vae': ['diffusers', 'AutoencoderKL'],
    }
    write_json(weights / 'model_index.json', index)
    write_json(weights / 'scheduler' / 'scheduler_config.json', SCHEDULER_CONFIG)
    tokenizer.save(weights / 'tokenizer')
    sizes = {
        'vae': write_model(weights / 'vae', vae, vae.config),
        'unet': write_model(weights / 'unet', unet, unet.config),
        'text_encoder': write_model(weights / 'text_encoder', text, text.config, TEXT_FILE),
    }
    print(sizes, sum(sizes.values()), 'bytes')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--weights', type=Path, default=WEIGHTS)
    options = parser.parse_args()
    export(options.out, options.weights)
