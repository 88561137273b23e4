"""Text forms: exact round trips, and no form but the canonical one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Reason, Rejected
from exchange.normal import text_forms
from exchange.normal.text_forms import MAX_FRAME_MS, MAX_VPDQ_FRAMES, VpdqFrame, format_vpdq, parse_vpdq


@dataclass(frozen=True, slots=True)
class Form:
    name: str
    size: int
    example: str
    parse: Callable[[str], bytes]
    format: Callable[[bytes], str]


FORMS = (
    Form("pdq", 32, "0f" * 32, text_forms.parse_pdq, text_forms.format_pdq),
    Form("md5", 16, "d41d8cd98f00b204e9800998ecf8427e", text_forms.parse_md5, text_forms.format_md5),
    Form("sha256", 32, "e3" * 32, text_forms.parse_sha256, text_forms.format_sha256),
    Form("tlsh", 35, "T1" + "A7" * 35, text_forms.parse_tlsh, text_forms.format_tlsh),
    Form("pseudonym", 36, "4294967295:" + "e3" * 32, text_forms.parse_pseudonym, text_forms.format_pseudonym),
)
EVERY_FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
FRAMES = st.builds(VpdqFrame, st.integers(0, MAX_FRAME_MS), st.integers(0, 100), st.binary(min_size=32, max_size=32))
PDQ = "ab" * 32


@EVERY_FORM
@given(data=st.data())
def test_value_to_text_and_back(form: Form, data: st.DataObject) -> None:
    value = data.draw(st.binary(min_size=form.size, max_size=form.size))
    assert form.parse(form.format(value)) == value


@EVERY_FORM
def test_text_to_value_and_back(form: Form) -> None:
    assert len(form.parse(form.example)) == form.size
    assert form.format(form.parse(form.example)) == form.example


@EVERY_FORM
@given(text=st.text() | st.text("0123456789abcdefABCDEFT", min_size=30, max_size=75))
def test_any_text_gives_a_value_or_is_rejected(form: Form, text: str) -> None:
    try:
        value = form.parse(text)
    except Rejected:
        return
    assert form.format(value) == text


SPOILED: dict[str, Callable[[str], str]] = {
    "other case": str.swapcase,
    "space before": " {}".format,
    "space after": "{} ".format,
    "line end": "{}\n".format,
    "too long": "{}0".format,
    "too short": lambda text: text[:-1],
    "0x": "0x{}".format,
    "a letter beyond f": lambda text: text[:-1] + "g",
    "a digit that is not ASCII": lambda text: text[:-1] + "٣",
    "a zero byte": lambda text: text[:-1] + "\0",
    "nothing": lambda text: "",
}


@EVERY_FORM
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_any_other_form_is_rejected_and_told_the_right_one(form: Form, spoil: Callable[[str], str]) -> None:
    with pytest.raises(Rejected, match=f"^{form.name} is written as ") as caught:
        form.parse(spoil(form.example))
    assert form.example[-60:] not in caught.value.diagnostics()


@EVERY_FORM
def test_the_wrong_case_is_named(form: Form) -> None:
    digits = form.example.removeprefix("T1").rpartition(":")[2]
    with pytest.raises(Rejected, match=r"this has (upper|lower)-case digits$"):
        form.parse(form.example.removesuffix(digits) + digits.swapcase())


@EVERY_FORM
@given(value=st.binary(max_size=70))
def test_a_value_of_another_length_has_no_text(form: Form, value: bytes) -> None:
    if len(value) != form.size:
        with pytest.raises(Rejected, match=f"{form.name} has {form.size} bytes"):
            form.format(value)


@pytest.mark.parametrize("epoch", ["", "01", "-1", "+1", "1_0", "4294967296", "x"])
def test_a_pseudonym_has_its_key_epoch_in_one_form(epoch: str) -> None:
    with pytest.raises(Rejected, match=r"^pseudonym is written as its key epoch"):
        text_forms.parse_pseudonym(f"{epoch}:{'e3' * 32}")


def test_tlsh_without_its_version_is_rejected() -> None:
    with pytest.raises(Rejected, match="70 characters"):
        text_forms.parse_tlsh("A7" * 35)


@given(st.lists(FRAMES, min_size=1, max_size=20).map(sorted))
def test_frames_to_text_and_back(frames: list[VpdqFrame]) -> None:
    assert parse_vpdq(format_vpdq(frames)) == tuple(frames)


@pytest.mark.parametrize(
    ("seconds", "frame_ms"),
    [
        ("0.0", 0),
        ("5.0", 5000),
        ("12.3", 12300),
        ("0.0333", 33),
        ("0.0005", 0),
        ("0.0015", 2),
        ("1e-05", 0),
        ("1.23e+02", 123000),
        ("1.23e+03", 1230000),
        ("1e+05", 100000000),
        ("7", 7000),
        ("1234.567", 1234567),
    ],
)
def test_the_seconds_of_other_programmes_are_read(seconds: str, frame_ms: int) -> None:
    assert parse_vpdq(json.dumps([f"{PDQ},100,{seconds}"])) == (VpdqFrame(frame_ms, 100, bytes.fromhex(PDQ)),)


def test_frames_are_written_as_others_read_them() -> None:
    text = format_vpdq([(5, 100, bytes(32)), (1_234_567, 7, bytes.fromhex(PDQ))])
    assert json.loads(text) == [f"{'00' * 32},100,0.005", f"{PDQ},7,1234.567"]


@pytest.mark.parametrize(
    "text",
    ["", "null", "{}", "[]", "1", '"a"', "[1]", "[null]", "[[]]", '["a,b,c"]', '["", ""]', "[" * 100_000, "not json"]
    + [
        json.dumps([frame])
        for frame in (PDQ, f"{PDQ},50", f"{PDQ},50,1.0,1", f"{PDQ.upper()},50,1.0", f" {PDQ},50,1.0")
    ]
    + [json.dumps([f"{PDQ},{quality},1.0"]) for quality in ("101", "-1", "+5", "05", "5.0", "", "٣", " 5")]
    + [
        json.dumps([f"{PDQ},5,{seconds}"])
        for seconds in ("-1", "nan", "inf", "1e9", "1e+9", "9" * 11, "1.", ".5", " 1", "")
    ]
    + [json.dumps({"0": {"quality": 100, "hash": PDQ, "timestamp": 0.0}})],
)
def test_any_other_vpdq_text_is_rejected(text: str) -> None:
    with pytest.raises(Rejected):
        parse_vpdq(text)


@given(st.text() | st.lists(st.text()).map(json.dumps) | st.text('[]{}",0123456789abcdef.e+-'))
def test_any_text_gives_frames_or_is_rejected(text: str) -> None:
    try:
        frames = parse_vpdq(text)
    except Rejected:
        return
    assert parse_vpdq(format_vpdq(frames)) == frames


def test_frames_out_of_order_are_rejected() -> None:
    with pytest.raises(Rejected, match=r"^frame 1: .* order"):
        parse_vpdq(json.dumps([f"{PDQ},50,1.0", f"{PDQ},50,0.5"]))
    with pytest.raises(Rejected, match=r"^frame 1: .* order"):
        format_vpdq([(1000, 50, bytes(32)), (500, 50, bytes(32))])


def test_too_many_frames_are_rejected() -> None:
    frames = [(index, 50, bytes(32)) for index in range(MAX_VPDQ_FRAMES + 1)]
    assert len(parse_vpdq(format_vpdq(frames[:-1]))) == MAX_VPDQ_FRAMES
    with pytest.raises(Rejected) as caught:
        format_vpdq(frames)
    assert caught.value.reason is Reason.TOO_LARGE
    with pytest.raises(Rejected) as caught:
        parse_vpdq(json.dumps([f"{PDQ},50,1.0"] * (MAX_VPDQ_FRAMES + 1)))
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "frame",
    [(-1, 50, bytes(32)), (MAX_FRAME_MS + 1, 50, bytes(32)), (0, -1, bytes(32)), (0, 101, bytes(32)), (0, 50, b"")],
)
def test_a_frame_out_of_range_has_no_text(frame: tuple[int, int, bytes]) -> None:
    with pytest.raises(Rejected, match=r"^frame 0: "):
        format_vpdq([frame])
