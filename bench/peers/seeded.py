"""Seeded values by name, as ../seeded.ts makes them: the same weights and inputs on both sides, without a file."""

import functools

import numpy as np

PERIOD = 65537
SEED = 1


def uniforms(seed: int, n: int) -> np.ndarray:
    """n numbers in [0, 1) of the generator mulberry32, f64."""
    out = np.empty(n)
    a = seed & 0xFFFFFFFF
    for i in range(n):
        a = (a + 0x6D2B79F5) & 0xFFFFFFFF
        t = ((a ^ (a >> 15)) * (a | 1)) & 0xFFFFFFFF
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & 0xFFFFFFFF)) & 0xFFFFFFFF
        out[i] = ((t ^ (t >> 14)) & 0xFFFFFFFF) / 4294967296
    return out


@functools.cache
def table() -> np.ndarray:
    """Normals by Box and Muller, f32 widened to f64."""
    u = uniforms(SEED, 2 * PERIOD)
    radius = np.sqrt(-2 * np.log(1 - u[0::2]))
    return (radius * np.cos(2 * np.pi * u[1::2])).astype(np.float32).astype(np.float64)


def offset_of(name: str) -> int:
    """Where a name begins in the table: FNV-1a of its letters."""
    value = 0x811C9DC5
    for letter in name:
        value = ((value ^ ord(letter)) * 0x01000193) & 0xFFFFFFFF
    return value % PERIOD


def seeded_values(name: str, shape: list[int], mean: float = 0, std: float = 1, half: bool = False) -> np.ndarray:
    """Values of a mean and standard deviation, f32; half: such as a half can hold."""
    values = (mean + std * np.roll(table(), -offset_of(name))).astype(np.float32)
    n = int(np.prod(shape))
    # Repeated from where the name begins, by its first min(n, PERIOD) values.
    few = values[: min(n, PERIOD)]
    if half:
        few = few.astype(np.float16).astype(np.float32)
    return np.resize(few, n).reshape(shape)


def seeded_weight(key: str, shape: list[int]) -> np.ndarray:
    """A weight: normals that keep the size of what passes through, about 1 for the scale of a norm."""
    if len(shape) > 1:
        form = {'std': 1 / np.sqrt(np.prod(shape[1:]))}
    elif key.endswith('weight'):
        form = {'mean': 1, 'std': 0.1}
    else:
        form = {'std': 0.1}
    return seeded_values(key, shape, half=True, **form)
