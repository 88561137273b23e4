"""Deterministic pictures for the PDQ vectors: integer arithmetic only, so every machine draws the same bytes.

`landscape` adds smooth noise at several scales, as photographs have, with strong contrast; `shapes` has hard
edges; `ramp` has little structure, so its quality is low. All are rows x columns x 3 bytes (RGB).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def draw(name: str, *, width: int, height: int, seed: int) -> Pixels:
    """The picture that a vector names."""
    return {"landscape": _landscape, "shapes": _shapes, "ramp": _ramp}[name](width, height, seed)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A well-spread 64-bit number for each (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _lattice(x: NDArray[np.int64], y: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """0..255 for each lattice point."""
    keys = x.astype(np.uint64)[None, :] * np.uint64(0x1F123BB5) + y.astype(np.uint64)[:, None] * np.uint64(0x5BD1E995)
    values: NDArray[np.int64] = (_mix(keys + np.uint64(seed * 0x9E3779B1)) & np.uint64(255)).astype(np.int64)
    return values


def _noise(width: int, height: int, cell: int, seed: int) -> NDArray[np.int64]:
    """Lattice values, bilinearly interpolated in integers: 0..255."""
    x, y = np.arange(width, dtype=np.int64), np.arange(height, dtype=np.int64)
    cell_x, part_x = x // cell, x % cell
    cell_y, part_y = (y // cell), (y % cell)[:, None]
    top = _lattice(cell_x, cell_y, seed) * (cell - part_x) + _lattice(cell_x + 1, cell_y, seed) * part_x
    bottom = _lattice(cell_x, cell_y + 1, seed) * (cell - part_x) + _lattice(cell_x + 1, cell_y + 1, seed) * part_x
    return ((top * (cell - part_y) + bottom * part_y) // (cell * cell)).astype(np.int64)


def _landscape(width: int, height: int, seed: int) -> Pixels:
    longest = max(width, height)
    channels = []
    for channel in range(3):
        total = np.zeros((height, width), dtype=np.int64)
        for octave in range(6):
            cell = max(longest >> (octave + 1), 1)
            total += _noise(width, height, cell, seed + 100 * octave + 7 * channel) << (5 - octave)
        channels.append(np.clip((total // 63 - 128) * 4 + 128, 0, 255))
    return np.stack(channels, axis=2).astype(np.uint8)


def _shapes(width: int, height: int, seed: int) -> Pixels:
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    pixels = np.full((height, width, 3), 200, dtype=np.uint8)
    numbers = [int(number) for number in _mix(np.arange(200, dtype=np.uint64) + np.uint64(seed * 1000))]
    for index in range(24):
        a, b, c, d, colour = numbers[5 * index : 5 * index + 5]
        centre_x, centre_y = a % width, b % height
        radius_x, radius_y = c % (width // 3) + 1, d % (height // 3) + 1
        inside = (x - centre_x) ** 2 * radius_y**2 + (y - centre_y) ** 2 * radius_x**2 < (radius_x * radius_y) ** 2
        pixels[inside] = [(colour >> shift) & 255 for shift in (0, 8, 16)]
    return pixels


def _ramp(width: int, height: int, seed: int) -> Pixels:
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    grey = (40 + seed % 40 + x * 60 // width + y * 40 // height).astype(np.uint8)
    return np.stack([grey, grey, grey], axis=2)
