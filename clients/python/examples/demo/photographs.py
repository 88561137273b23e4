"""Real photographs for the demo, and copies of them as they turn up elsewhere.

The photographs are those that the scikit-image wheel bundles (CC0 or public domain); only its files are used.
"""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

from PIL import Image

NAMES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg")
#: The last ones are never published: photographs of their own at the other platforms.
PUBLISHED = NAMES[:4]
UNRELATED = NAMES[4:]


def folder() -> Path:
    """Return where the photographs lie."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the demo needs scikit-image for its photographs: run it with `make demo`")
    return Path(spec.submodule_search_locations[0]) / "data"


def original(name: str) -> Image.Image:
    """Return a photograph."""
    with Image.open(folder() / name) as image:
        return image.convert("RGB")


def reencoded(image: Image.Image, quality: int = 60) -> Image.Image:
    """Return the photograph as another JPEG encoder would pass it on."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(image: Image.Image, share: float = 0.5) -> Image.Image:
    """Return the photograph at a share of its size."""
    return image.resize((int(image.width * share), int(image.height * share)), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Return the photograph without this share of its width and height, taken off evenly around it."""
    x, y = round(image.width * share / 2), round(image.height * share / 2)
    return image.crop((x, y, image.width - x, image.height - y))


def tiles(image: Image.Image, count: int) -> list[bytes]:
    """Return ``count`` pieces of a photograph as PNG files: many real files from one picture."""
    side = 64
    columns = max(1, image.width // side)
    pieces = []
    for number in range(count):
        x, y = number % columns * side, number // columns % max(1, image.height // side) * side
        buffer = io.BytesIO()
        image.rotate(number // 7).crop((x, y, x + side, y + side)).save(buffer, "PNG")
        pieces.append(buffer.getvalue() + number.to_bytes(4, "big"))
    return pieces
