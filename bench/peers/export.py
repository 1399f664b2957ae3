"""Writes the models of ../models/models.json as ONNX, as PyTorch's own exporter does it (opset 17, constants folded), and
once more with operators of onnxruntime's own; and what PyTorch makes of them on this machine, in f32.

usage: python3 export.py --out DIR [--truth DIR] [NAME …]
Weights are seeded (seeded.py), so that a graph is written without them: DIR/NAME/{exported,fused}.onnx keep their big
tensors in a .bin beside it, which the bench makes from what the .json says. Needs torch, onnx and, with newer torch, onnxscript.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / 'training'))

import layers  # noqa: E402
from dit_model import DiT  # noqa: E402
from fused import fused_operators  # noqa: E402
from models import AutoencoderKL, UNet2D, unet_config, vae_config  # noqa: E402
from seeded import seeded_values, seeded_weight  # noqa: E402
from unet_condition import UNetCondition  # noqa: E402

OPSET = 17
# Smaller tensors stay in the graph: shapes, scales, constants.
SMALLEST_OUTSIDE = 1024
# How many values of an output are kept; as in ../models/truth.ts.
KEPT = 16384


def group_norm(x, weight, bias, groups, eps, silu):
    """The training's own kernel, in the words that exporters know."""
    y = torch.nn.functional.group_norm(x, groups, weight, bias, eps)
    return torch.nn.functional.silu(y) if silu else y


layers.group_norm = group_norm


class Decode(torch.nn.Module):
    """The half of an autoencoder that is measured, with the keys of the whole."""

    def __init__(self, config):
        super().__init__()
        whole = AutoencoderKL(config)
        self.post_quant_conv, self.decoder = whole.post_quant_conv, whole.decoder

    def forward(self, z):
        return self.decoder(self.post_quant_conv(z))


BUILDERS = {
    'UNet2DModel': lambda config: UNet2D(unet_config([], [], **config)),
    'DiTTransformer2DModel': DiT,
    'AutoencoderKL': lambda config: Decode(vae_config([], **config)),
    'UNet2DConditionModel': UNetCondition,
}


def build(entry: dict) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A model with its seeded weights, and the values of its inputs by name."""
    config = entry['config']
    model = BUILDERS[config['_class_name']](config).eval().requires_grad_(False)
    state = {k: torch.from_numpy(seeded_weight(k, list(v.shape))) for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    inputs = {'sample': torch.from_numpy(seeded_values('sample', entry['sample']))}
    if 'timestep' in entry:
        inputs['timestep'] = torch.full((entry['sample'][0],), float(entry['timestep']))
    if 'labels' in entry:
        inputs['labels'] = torch.tensor(entry['labels'])
    if 'context' in entry:
        inputs['context'] = torch.from_numpy(seeded_values('context', entry['context']))
    return model, inputs


def export(model: torch.nn.Module, inputs: dict[str, torch.Tensor], file: Path) -> None:
    torch.onnx.export(
        model,
        tuple(inputs.values()),
        str(file),
        opset_version=OPSET,
        dynamo=False,
        do_constant_folding=True,
        input_names=list(inputs),
        output_names=['out'],
    )


def separate_weights(file: Path, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict:
    """Takes big tensors out of the graph, turns inputs into initialisers that may be overridden (they then lie on the
    device, and nothing is folded into them), and says what its .bin is made of."""
    graph = onnx.load(file)
    by_bytes = {}
    for key, value in model.state_dict().items():
        array = value.numpy()
        by_bytes[array.tobytes()] = (key, list(array.shape), False)
        if array.ndim == 2:
            by_bytes.setdefault(array.T.tobytes(), (key, list(array.shape), True))
    parts, at = [], 0
    for tensor in graph.graph.initializer:
        data = onnx.numpy_helper.to_array(tensor).tobytes()
        if len(data) < SMALLEST_OUTSIDE or data not in by_bytes:
            continue
        key, shape, transposed = by_bytes[data]
        parts.append({'key': key, 'shape': shape, 'transposed': transposed, 'offset': at, 'bytes': len(data)})
        tensor.ClearField('raw_data')
        tensor.ClearField('float_data')
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for name, value in (('location', f'{file.stem}.bin'), ('offset', at), ('length', len(data))):
            entry = tensor.external_data.add()
            entry.key, entry.value = name, str(value)
        at += (len(data) + 4095) // 4096 * 4096
    for name, value in inputs.items():
        graph.graph.initializer.append(onnx.numpy_helper.from_array(value.numpy(), name))
    file.write_bytes(graph.SerializeToString())
    inside = file.stat().st_size
    print(f'{file}: {len(graph.graph.node)} nodes, {inside / 2**20:.1f} MiB, {at / 2**20:.0f} MiB of weights apart')
    return {'bytes': at, 'parts': parts}


def write_truth(folder: Path, name: str, out: torch.Tensor) -> None:
    flat = out.numpy().astype(np.float32).ravel()
    stride = -(-flat.size // KEPT)
    stride += 1 - stride % 2
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{name}.bin').write_bytes(np.ascontiguousarray(flat[::stride]).tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, help='folder for the graphs')
    parser.add_argument('--truth', type=Path, help='folder for what PyTorch gives')
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    entries = json.loads((HERE.parent / 'models/models.json').read_text())
    torch.set_num_threads(int(os.environ.get('THREADS', torch.get_num_threads())))
    for name, entry in entries.items():
        if 'case' not in entry or (options.names and name not in options.names):
            continue
        if isinstance(entry['config'], str):
            entry['config'] = entries[entry['config']]['config']
        model, inputs = build(entry)
        if options.truth:
            with torch.no_grad():
                write_truth(options.truth, name, model(*inputs.values()))
        if options.out:
            folder = options.out / name
            folder.mkdir(parents=True, exist_ok=True)
            for variant, operators in (('exported', None), ('fused', fused_operators)):
                file = folder / f'{variant}.onnx'
                if operators:
                    with operators():
                        export(model, inputs, file)
                else:
                    export(model, inputs, file)
                weights = separate_weights(file, model, inputs)
                (folder / f'{variant}.json').write_text(json.dumps(weights))


if __name__ == '__main__':
    main()
