"""The models of ../models/models.json in plain PyTorch with seeded weights (seeded.py), for whatever runs them: the
exporter and PyTorch itself. Needs torch and numpy alone."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / 'training'))

import layers  # noqa: E402
from dit_model import DiT  # noqa: E402
from models import AutoencoderKL, UNet2D, unet_config, vae_config  # noqa: E402
from seeded import seeded_values, seeded_weight  # noqa: E402
from unet_condition import UNetCondition  # noqa: E402


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
    """The training's own kernel, in the words that exporters know."""
    y = nn.functional.group_norm(x, groups, weight, bias, eps)
    return nn.functional.silu(y) if silu else y


layers.group_norm = group_norm


class Decode(nn.Module):
    """The half of an autoencoder that is measured, with the keys of the whole."""

    def __init__(self, config: dict):
        super().__init__()
        whole = AutoencoderKL(config)
        self.post_quant_conv, self.decoder = whole.post_quant_conv, whole.decoder

    def forward(self, z: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(z))


BUILDERS = {
    'UNet2DModel': lambda config: UNet2D(unet_config([], [], **config)),
    'DiTTransformer2DModel': DiT,
    'AutoencoderKL': lambda config: Decode(vae_config([], **config)),
    'UNet2DConditionModel': UNetCondition,
}


def entries() -> dict[str, dict]:
    """The models by name, configs filled in."""
    everything = json.loads((HERE.parent / 'models/models.json').read_text())
    found = {name: entry for name, entry in everything.items() if 'case' in entry}
    for entry in found.values():
        if isinstance(entry['config'], str):
            entry['config'] = everything[entry['config']]['config']
    return found


@contextlib.contextmanager
def uninitialised() -> Iterator[None]:
    """Modules keep whatever their weights' memory holds: making values up takes longer than making the seeded ones."""
    names = ('kaiming_uniform_', 'xavier_uniform_', 'uniform_', 'normal_', 'zeros_', 'ones_')
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
        yield


def build(entry: dict) -> tuple[nn.Module, dict[str, Tensor]]:
    """A model with its seeded weights, and the values of its inputs by name."""
    config = entry['config']
    with uninitialised():
        model = BUILDERS[config['_class_name']](config).eval().requires_grad_(False)
    for key, value in model.state_dict().items():
        value.copy_(torch.from_numpy(seeded_weight(key, list(value.shape))))
    inputs = {'sample': torch.from_numpy(seeded_values('sample', entry['sample']))}
    if 'timestep' in entry:
        inputs['timestep'] = torch.full((entry['sample'][0],), float(entry['timestep']))
    if 'labels' in entry:
        inputs['labels'] = torch.tensor(entry['labels'])
    if 'context' in entry:
        inputs['context'] = torch.from_numpy(seeded_values('context', entry['context']))
    return model, inputs
