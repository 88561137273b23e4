"""PDQ: the perceptual hash of a photograph, in numpy.

Why here: PDQ is what hash-sharing programmes exchange for images, and its usual Python binding has no
Linux wheel, so a platform would need a compiler to take part. This module needs only numpy and Pillow.

What it computes (the algorithm is published by Meta, https://github.com/facebook/ThreatExchange, folder
``pdq``): luma; a tent filter made of two box-filter passes in each direction; one sample from the centre
of each of 64 x 64 cells; 16 x 16 low frequencies of a discrete cosine transform; one bit each, set where
the coefficient is above the median.

How: the filter and the sampling are linear and work on each axis alone, so together they are one 64 x n
matrix per axis, and the 64 x 64 image is ``rows @ luma @ columns.T``. That is the same arithmetic as the
reference's running sums in another order, without its full-size passes; memory stays bounded by a strip.

What must stay true: the whole image is filtered at its full size, as python-threatexchange and HMA do.
(The reference's own command-line tools first shrink anything above 512 pixels, each in its own way, and so
differ from each other by a few bits.) A published hash is for ever: on images of quality 50 and above, any
change to this file must leave the vectors in ``tests/vectors/pdq.json`` within their stated distance.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from exchange.errors import Reason, Rejected

if TYPE_CHECKING:
    from numpy.typing import NDArray

HASH_BYTES = 32
"""Length of a PDQ hash: 256 bits."""

MATCH_DISTANCE = 31
"""Two photographs are taken for the same at this Hamming distance or below (the reference's advice)."""

MIN_QUALITY = 50
"""Below this quality an image has too little structure for its hash to mean anything: do not publish it."""

MIN_SIDE_PIXELS = 5
"""The smallest side that can be hashed. The reference answers an all-zero hash below it; we refuse."""

MAX_PIXELS = 89_000_000
"""The largest image that is decoded. A small file can claim a huge picture; this bounds the memory it gets.

Just under the size from which Pillow itself warns of a decompression bomb.
"""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF")
"""The file formats that are decoded. Pillow knows many more, some of which start other programmes."""

_SAMPLES = 64
_FREQUENCIES = 16
_PASSES_WINDOW_DIVISOR = 2 * _SAMPLES
_STRIP_PIXELS = 1 << 18
_LUMA_WEIGHTS = (0.299, 0.587, 0.114)
_QUALITY_DIVISOR = 90

# What Pillow's decoders raise on broken files; it documents only OSError.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # of damage, where warnings are made errors
)


@dataclass(frozen=True, slots=True)
class PDQHash:
    """The hash of one image.

    ``value`` is 32 bytes, most significant bit first: its hexadecimal text is the form that others print.
    ``quality`` is 0..100, a measure of how much structure the image has.
    """

    value: bytes
    quality: int

    def hex(self) -> str:
        """The hash as 64 lower-case hexadecimal digits."""
        return self.value.hex()


def hash_image(image: Image.Image | Path | str | bytes) -> PDQHash:
    """Hash a picture: an open Pillow image, a path, or the bytes of an image file.

    Transparency is dropped, palettes and colour spaces are converted to RGB, only the first frame of an
    animation counts, and the EXIF orientation is ignored (as in the reference: a rotated copy has another
    hash, see `hash_image_dihedral`).

    Raises:
        Rejected: not an image that can be decoded, too large, or a side under 5 pixels.
        OSError: a path that cannot be read.
    """
    samples = _samples(image)
    return PDQHash(_bits(_low_frequencies(samples)), _quality(samples))


def hash_image_dihedral(image: Image.Image | Path | str | bytes) -> tuple[PDQHash, ...]:
    """The hashes of the eight rotations and mirror images of a picture, from one filtering.

    In this order: as it is, then turned by 90, 180 and 270 degrees anticlockwise; then turned upside down in
    a mirror, left-right mirrored, and mirrored along the two diagonals. Same errors as `hash_image`.

    A turned picture is sampled at slightly different pixels, so these are some bits off the hash of a file
    that was really turned.
    """
    samples = _samples(image)
    quality = _quality(samples)
    turned = [np.rot90(samples, quarter) for quarter in range(4)]
    mirrored = [np.flipud(samples), np.fliplr(samples), samples.T, np.rot90(samples, 2).T]
    return tuple(PDQHash(_bits(_low_frequencies(variant)), quality) for variant in turned + mirrored)


def hamming(a: bytes, b: bytes) -> int:
    """Number of differing bits of two values of equal length (for PDQ: 0..256).

    Raises:
        Rejected: the lengths differ.
    """
    if len(a) != len(b):
        raise Rejected(Reason.INVALID, f"cannot compare hashes of {len(a)} and {len(b)} bytes")
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


def _samples(image: Image.Image | Path | str | bytes) -> NDArray[np.float32]:
    """The 64 x 64 filtered luma samples (0..255) of a picture in any of its accepted forms."""
    if isinstance(image, Path | str):
        image = Path(image).read_bytes()
    try:
        pixels = _pixels(Image.open(io.BytesIO(image), formats=FORMATS) if isinstance(image, bytes) else image)
    except _DECODER_ERRORS as error:
        raise Rejected(Reason.MALFORMED, "this is not an image that can be decoded") from error
    return _filtered(pixels)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The picture as rows x columns x 3 (RGB) or rows x columns (grey) bytes."""
    columns, rows = image.size
    if min(columns, rows) < MIN_SIDE_PIXELS:
        raise Rejected(Reason.INVALID, f"an image of {columns} x {rows} pixels is too small to be hashed")
    if columns * rows > MAX_PIXELS:
        raise Rejected(Reason.TOO_LARGE, f"an image of {columns} x {rows} pixels is too large to be hashed")
    if image.mode.startswith("I;16"):  # Pillow clips 16-bit grey at 255; keep the high byte of each pixel instead
        return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
    if image.mode == "L":
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def _filtered(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Filter and sample: ``rows @ luma @ columns.T``, in strips of rows so that memory stays small."""
    height, width = pixels.shape[:2]
    columns = _sampling_matrix(width)
    strip = max(1, _STRIP_PIXELS // width)
    narrow = np.empty((height, _SAMPLES), dtype=np.float64)
    for start in range(0, height, strip):
        narrow[start : start + strip] = _luma(pixels[start : start + strip]) @ columns.T
    samples: NDArray[np.float32] = (_sampling_matrix(height) @ narrow).astype(np.float32)
    return samples


def _luma(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Brightness of each pixel, 0..255, with the weights of ITU-R BT.601."""
    if pixels.ndim == 2:
        return pixels.astype(np.float64)
    red, green, blue = _LUMA_WEIGHTS
    luma: NDArray[np.float64] = pixels[:, :, 0] * red + pixels[:, :, 1] * green + pixels[:, :, 2] * blue
    return luma


@lru_cache(maxsize=32)
def _sampling_matrix(length: int) -> NDArray[np.float64]:
    """The 64 x ``length`` matrix that box-filters an axis twice and takes one sample per cell.

    The box is as wide as half a cell, rounded up, and leans one pixel to the right where its width is even;
    at the edges it is cut, and the mean is taken over what is left. With ``box`` the matrix of one pass and
    ``first`` the sampled rows of it, the result is ``first @ box``: each of its entries sums ``first / count``
    over the contiguous run of boxes that hold the pixel, so a difference of two running sums gives it.
    """
    width = -(-length // _PASSES_WINDOW_DIVISOR)
    ahead = (width + 2) // 2
    position = np.arange(length)
    begin = np.maximum(position + ahead - width, 0)
    end = np.minimum(position + ahead, length)
    count = (end - begin).astype(np.float64)
    centre = ((np.arange(_SAMPLES) + 0.5) * length / _SAMPLES).astype(np.int64)
    inside = (position >= begin[centre, None]) & (position < end[centre, None])
    first = inside / count[centre, None]
    running = np.zeros((_SAMPLES, length + 1), dtype=np.float64)
    np.cumsum(first / count, axis=1, out=running[:, 1:])
    lowest = np.maximum(position - ahead + 1, 0)
    highest = np.minimum(position + width - ahead + 1, length)
    matrix: NDArray[np.float64] = running[:, highest] - running[:, lowest]
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float64]:
    """The 16 x 64 cosine matrix of frequencies 1..16 (the mean, frequency 0, is left out)."""
    frequency = np.arange(1, _FREQUENCIES + 1)[:, None]
    sample = np.arange(_SAMPLES)[None, :]
    matrix: NDArray[np.float64] = np.sqrt(2.0 / _SAMPLES) * np.cos(np.pi / 2 / _SAMPLES * frequency * (2 * sample + 1))
    matrix.setflags(write=False)
    return matrix


def _low_frequencies(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """The 16 x 16 lowest non-constant frequencies of the 64 x 64 samples."""
    cosines = _cosines()
    frequencies: NDArray[np.float64] = cosines @ samples.astype(np.float64) @ cosines.T
    return frequencies


def _bits(frequencies: NDArray[np.float64]) -> bytes:
    """One bit for each frequency above the lower median; row 0, column 0 is the last bit of the 32 bytes."""
    flat = frequencies.astype(np.float32).ravel()
    median = np.partition(flat, flat.size // 2 - 1)[flat.size // 2 - 1]
    return np.packbits(flat[::-1] > median).tobytes()


def _quality(samples: NDArray[np.float32]) -> int:
    """0..100: the sum of the gradients between neighbouring samples, each in whole percent of full brightness.

    Small gradients round down to nothing, so noise does not count as structure.
    """
    total = 0
    for axis in (0, 1):
        percent = np.diff(samples, axis=axis) * np.float32(100) / np.float32(255)
        total += int(np.abs(np.trunc(percent)).sum())
    return min(total // _QUALITY_DIVISOR, 100)
