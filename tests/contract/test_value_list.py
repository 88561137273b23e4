"""A file of indicator values: what it means, and what is said of a line that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from exchange.domain.identifiers import INDICATOR_TYPES, IndicatorType
from exchange.errors import Reason, Rejected
from exchange.normal.text_forms import HASH_FORMS
from exchange.stores.value_list import read_values


def test_every_type_of_one_value_can_stand_in_it(tmp_path: Path) -> None:
    values = {row.type: bytes(row.value_bytes) for row in INDICATOR_TYPES.values() if not row.has_frames}
    write = {word: forms[1] for word, forms in HASH_FORMS.items()} | {"url": HASH_FORMS["image_sha256"][1]}
    lines = ["# a comment", "", *(f"{type_.word}  {write[type_.word](value)} " for type_, value in values.items())]
    path = tmp_path / "values.txt"
    path.write_text("\n".join(lines))
    assert read_values(path) == set(values.items())
    assert set(write) == {type_.word for type_ in IndicatorType} - {"vpdq"}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("vpdq []", ":2: 'vpdq' is not a type that has one value"),
        ("image_md5 00", ":2: md5 is written as 32 lower-case"),
        ("pdq", ":2: pdq is written as"),
    ],
)
def test_a_line_at_fault_is_named_and_no_value_repeated(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "values.txt"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(Rejected, match=what) as caught:
        read_values(path)
    assert caught.value.reason is Reason.CONFIG


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be read"):
        read_values(tmp_path / "none.txt")
