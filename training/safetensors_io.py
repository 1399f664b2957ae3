"""Reads and writes safetensors files: an 8-byte little-endian header length, a JSON header, then raw data."""

import json
import struct
from pathlib import Path

import numpy as np
import torch

_NUMPY = {'F32': '<f4', 'F16': '<f2', 'F64': '<f8', 'I64': '<i8', 'I32': '<i4', 'U8': '|u1', 'BF16': '<u2'}
_NAMES = {
    torch.float32: 'F32',
    torch.float16: 'F16',
    torch.float64: 'F64',
    torch.int64: 'I64',
    torch.int32: 'I32',
    torch.uint8: 'U8',
}


def load(path: Path | str) -> dict[str, torch.Tensor]:
    """Returns every tensor of the file; BF16 is widened to f32."""
    raw = Path(path).read_bytes()
    size = struct.unpack('<Q', raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    out = {}
    for name, info in header.items():
        if name == '__metadata__':
            continue
        begin, end = info['data_offsets']
        array = np.frombuffer(raw[8 + size + begin : 8 + size + end], _NUMPY[info['dtype']])
        if info['dtype'] == 'BF16':
            array = (array.astype('<u4') << 16).view('<f4')
        out[name] = torch.from_numpy(array.copy()).reshape(info['shape'])
    return out


def save(tensors: dict[str, torch.Tensor], path: Path | str, metadata: dict[str, str] | None = None) -> None:
    """Writes the tensors sorted by name, header padded so that the data starts on a multiple of 8 bytes."""
    header: dict = {'__metadata__': {'format': 'pt', **(metadata or {})}}
    chunks, offset = [], 0
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        data = value.numpy().tobytes()
        header[name] = {
            'dtype': _NAMES[value.dtype],
            'shape': list(value.shape),
            'data_offsets': [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    Path(path).write_bytes(struct.pack('<Q', len(text)) + text + b''.join(chunks))
