"""PDQ against the compiled reference, on drawn pictures and, where scikit-image is there, on its photographs."""

from __future__ import annotations

import hashlib
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exchange.errors import Reason, Rejected
from exchange_client.pdq import (
    FORMATS,
    MATCH_DISTANCE,
    MAX_PIXELS,
    PDQHash,
    hamming,
    hash_image,
    hash_image_dihedral,
)
from tests.vectors.pdq_pictures import Pixels, draw

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "pdq.json").read_text(encoding="utf-8"))
DRAWN: list[dict[str, Any]] = VECTORS["drawn"]
PHOTOGRAPHS: list[dict[str, Any]] = VECTORS["photographs"]["files"]
HASHES = st.binary(min_size=32, max_size=32)
LANDSCAPE = draw("landscape", width=200, height=150, seed=11)


def check(actual: PDQHash, vector: dict[str, Any]) -> None:
    assert abs(actual.quality - vector["quality"]) <= VECTORS["max_quality_difference"]
    if vector["pdq"]:
        assert hamming(actual.value, bytes.fromhex(vector["pdq"])) <= VECTORS["max_distance"]


def saved(pixels: Pixels, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("vector", DRAWN, ids=lambda v: f"{v['picture']} {v['width']}x{v['height']}")
def test_a_drawn_picture_has_the_hash_of_the_reference(vector: dict[str, Any]) -> None:
    pixels = draw(vector["picture"], width=vector["width"], height=vector["height"], seed=vector["seed"])
    check(hash_image(Image.fromarray(pixels)), vector)


@pytest.mark.parametrize("vector", PHOTOGRAPHS, ids=lambda v: v["file"])
def test_a_photograph_has_the_hash_of_the_reference(vector: dict[str, Any]) -> None:
    package = find_spec("skimage")
    if package is None or package.origin is None:
        pytest.skip("scikit-image, which carries the photographs, is not installed")
    data = (Path(package.origin).parent / "data" / vector["file"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != vector["sha256"]:
        pytest.skip("this scikit-image carries another file")
    check(hash_image(data), vector)


def test_path_bytes_and_open_image_are_hashed_alike(tmp_path: Path) -> None:
    data = saved(LANDSCAPE, "PNG")
    path = tmp_path / "landscape.png"
    path.write_bytes(data)
    expected = hash_image(Image.fromarray(LANDSCAPE))
    assert hash_image(data) == hash_image(path) == hash_image(str(path)) == expected
    assert expected.hex() == expected.value.hex()


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_accepted_format_is_decoded(file_format: str) -> None:
    expected = hash_image(Image.fromarray(LANDSCAPE))
    assert hamming(hash_image(saved(LANDSCAPE, file_format)).value, expected.value) <= MATCH_DISTANCE


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_other_colour_modes_are_hashed_as_the_colours_they_show(mode: str) -> None:
    image = Image.fromarray(LANDSCAPE).convert("L").convert(mode)
    assert hamming(hash_image(image).value, hash_image(image.convert("L")).value) <= 10


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    grey = Image.fromarray(LANDSCAPE).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 256)
    assert deep.mode.startswith("I;16")
    assert hash_image(deep) == hash_image(grey)


def test_strips_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(draw("landscape", width=1500, height=400, seed=12))
    expected = hash_image(image)
    monkeypatch.setattr("exchange_client.pdq._STRIP_PIXELS", 1500 * 7)
    assert hamming(hash_image(image).value, expected.value) <= 2


@pytest.mark.parametrize(("quality", "scale"), [(70, 1.0), (50, 1.0), (90, 0.75), (90, 0.5)])
def test_a_copy_saved_again_still_matches(quality: int, scale: float) -> None:
    pixels = draw("landscape", width=640, height=480, seed=13)
    size = (int(640 * scale), int(480 * scale))
    smaller = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    copy = hash_image(saved(smaller, "JPEG", quality=quality))
    assert hamming(copy.value, hash_image(Image.fromarray(pixels)).value) <= MATCH_DISTANCE


def test_different_pictures_do_not_match() -> None:
    hashes = [hash_image(Image.fromarray(draw("landscape", width=200, height=150, seed=seed))) for seed in range(12)]
    distances = [hamming(a.value, b.value) for index, a in enumerate(hashes) for b in hashes[:index]]
    assert min(distances) > 2 * MATCH_DISTANCE


def test_the_turned_and_mirrored_hashes_are_those_of_the_turned_picture() -> None:
    pixels = draw("landscape", width=64, height=64, seed=14)  # of this size every pixel is a sample: nothing differs
    turned = [np.rot90(pixels, quarter) for quarter in range(4)]
    turned += [np.flipud(pixels), np.fliplr(pixels), pixels.transpose(1, 0, 2), np.rot90(pixels, 2).transpose(1, 0, 2)]
    for expected, variant in zip(turned, hash_image_dihedral(Image.fromarray(pixels)), strict=True):
        actual = hash_image(Image.fromarray(np.ascontiguousarray(expected)))
        assert hamming(actual.value, variant.value) <= 2


@pytest.mark.parametrize("size", [(4, 100), (100, 4), (1, 1)])
def test_too_small_an_image_is_rejected(size: tuple[int, int]) -> None:
    with pytest.raises(Rejected) as caught:
        hash_image(Image.new("RGB", size))
    assert caught.value.reason is Reason.INVALID


def test_a_small_file_that_claims_a_huge_picture_is_rejected_undecoded() -> None:
    data = bytearray(saved(LANDSCAPE, "BMP"))
    data[18:26] = (8000).to_bytes(4, "little") + (MAX_PIXELS // 8000 + 1).to_bytes(4, "little")
    with pytest.raises(Rejected) as caught:
        hash_image(bytes(data))
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hash_image(tmp_path / "missing.jpg")


@pytest.mark.filterwarnings("ignore")  # decoders warn of odd metadata
@settings(max_examples=150, deadline=None)
@given(data=st.data(), file_format=st.sampled_from(FORMATS))
def test_broken_files_are_hashed_or_rejected(data: st.DataObject, file_format: str) -> None:
    broken = bytearray(saved(draw("shapes", width=40, height=30, seed=1), file_format))
    for position in data.draw(st.lists(st.integers(0, len(broken) - 1), max_size=8)):
        broken[position] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(broken)))
    try:
        answer = hash_image(bytes(broken[:end]))
    except Rejected:
        return
    assert len(answer.value) == 32
    assert 0 <= answer.quality <= 100


@given(st.binary(max_size=200))
def test_other_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(Rejected):
        hash_image(data)


@given(HASHES, HASHES, HASHES)
def test_the_distance_is_a_metric(a: bytes, b: bytes, c: bytes) -> None:
    assert hamming(a, a) == 0
    assert hamming(a, b) == hamming(b, a) == sum((x ^ y).bit_count() for x, y in zip(a, b, strict=True))
    assert hamming(a, c) <= hamming(a, b) + hamming(b, c)


def test_values_of_different_lengths_have_no_distance() -> None:
    with pytest.raises(Rejected):
        hamming(bytes(32), bytes(16))
