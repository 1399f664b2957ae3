"""Writes the models of ../models/models.json as ONNX, as PyTorch's own exporter does it (opset 17, constants folded),
and once more with operators of onnxruntime's own; and what PyTorch makes of them on this machine, in f32.

usage: python3 export.py --out DIR [--truth DIR] [NAME …]
Weights are seeded (seeded.py), so that a graph is written without them: DIR/NAME/{exported,fused}.onnx keep their big
tensors in a .bin beside it, which the bench makes from what the .json says. Needs torch, onnx and, with newer torch,
onnxscript.
"""

import argparse
import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch

# First: it shows the others the way to the training's modules.
from published import build, entries
from fused import fused_operators  # isort: skip

OPSET = 17
# Smaller tensors stay in the graph: shapes, scales, constants.
SMALLEST_OUTSIDE = 1024
# How many values of an output are kept; as in ../models/truth.ts.
KEPT = 16384


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


def separate_weights(whole: Path, file: Path, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict:
    """Takes big tensors out of the whole graph, turns inputs into initialisers that may be overridden (they then lie on
    the device, and nothing is folded into them), writes the file, and says what its .bin is made of."""
    graph = onnx.load(whole)
    by_bytes = {}
    for key, value in model.state_dict().items():
        array = value.numpy()
        by_bytes[digest(array.tobytes())] = (key, list(array.shape), False)
        if array.ndim == 2:
            by_bytes.setdefault(digest(array.T.tobytes()), (key, list(array.shape), True))
    parts, at = [], 0
    for tensor in graph.graph.initializer:
        data = onnx.numpy_helper.to_array(tensor).tobytes()
        if len(data) < SMALLEST_OUTSIDE or (found := by_bytes.get(digest(data))) is None:
            continue
        key, shape, transposed = found
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


def digest(data: bytes) -> bytes:
    """Stands for the bytes: of the largest models they would be held several times."""
    return hashlib.blake2b(data).digest()


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
    torch.set_num_threads(int(os.environ.get('THREADS', torch.get_num_threads())))
    for name, entry in entries().items():
        if options.names and name not in options.names:
            continue
        model, inputs = build(entry)
        if options.truth:
            with torch.no_grad():
                write_truth(options.truth, name, model(*inputs.values()))
        if options.out:
            folder = options.out / name
            folder.mkdir(parents=True, exist_ok=True)
            for variant, operators in (('exported', contextlib.nullcontext), ('fused', fused_operators)):
                file = folder / f'{variant}.onnx'
                # What is larger than 2 GiB is written with a file for each of its tensors.
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    whole = Path(scratch) / file.name
                    with operators():
                        export(model, inputs, whole)
                    weights = separate_weights(whole, file, model, inputs)
                (folder / f'{variant}.json').write_text(json.dumps(weights))


if __name__ == '__main__':
    main()
