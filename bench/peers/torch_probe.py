"""Prints as JSON whether PyTorch is here, and a GPU that CUDA reaches: {"version": "2.8.0+cu128", "cuda": true}, or
null. Takes a moment; importing torch would take seconds."""

import ctypes
import importlib.util
import json
import runpy
import sys
from pathlib import Path


def has_gpu() -> bool:
    try:
        driver = ctypes.CDLL('nvcuda.dll' if sys.platform == 'win32' else 'libcuda.so.1')
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


def probe() -> dict | None:
    found = importlib.util.find_spec('torch')
    if found is None or found.origin is None or importlib.util.find_spec('numpy') is None:
        return None
    about = runpy.run_path(str(Path(found.origin).with_name('version.py')))
    return {'version': about['__version__'], 'cuda': about.get('cuda') is not None and has_gpu()}


if __name__ == '__main__':
    print(json.dumps(probe()))
