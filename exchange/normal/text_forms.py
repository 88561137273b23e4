"""The text forms of indicator values, for the edges only: on the wire every value is raw bytes.

Why: people, files and other programmes write hashes as text, in forms of which only one is right for each
type. A hash stored in the wrong case never matches anything and nobody notices, so a form that is not exactly
the canonical one is refused with a message that says what it should be; nothing is mended in silence.

What must stay true: ``format_x(parse_x(text)) == text`` for every accepted text of all but `vpdq`, and
``parse_x(format_x(value)) == value`` for every type; any text gives a value or `Rejected`; and no message repeats the
value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from exchange.errors import Reason, Rejected

MAX_VPDQ_FRAMES = 2_000
"""The most frames in one `vpdq` value, as a record may hold them: 33 minutes at one frame a second."""

MAX_FRAME_MS = 2**31 - 1
"""The latest time of a frame, in milliseconds from the start of the video (24 days)."""

MAX_VPDQ_CHARACTERS = MAX_VPDQ_FRAMES * 128
"""The longest `vpdq` text that is looked at: a frame is written in about 80 characters."""

_PDQ_BYTES = 32
_KEY_EPOCH_BYTES = 4
_MAX_KEY_EPOCH = 2**32 - 1
_KEY_EPOCH = re.compile(r"0|[1-9][0-9]{0,9}")
_SECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10})?(e[+-]0?[0-9])?")
_QUALITY = re.compile(r"0|[1-9][0-9]?|100")


class VpdqFrame(NamedTuple):
    """One hashed frame of a video: its time in milliseconds, its quality (0..100) and its PDQ hash (32 bytes).

    It has the fields that validation and matching read, so it may stand where they take a frame.
    """

    frame_ms: int
    quality: int
    pdq: bytes


@dataclass(frozen=True, slots=True)
class _HexForm:
    """How values of one fixed length are written: a prefix, then hexadecimal digits of one case."""

    name: str
    size: int
    prefix: str = ""
    upper: bool = False

    def described(self) -> str:
        case = "upper" if self.upper else "lower"
        start = f"{self.prefix} and then " if self.prefix else ""
        return f"{self.name} is written as {start}{2 * self.size} {case}-case hexadecimal digits"

    def parse(self, text: str) -> bytes:
        pattern = f"{self.prefix}[0-9{'A-F' if self.upper else 'a-f'}]{{{2 * self.size}}}"
        if not re.fullmatch(pattern, text):
            raise Rejected(Reason.INVALID, f"{self.described()}; {self._mistake(text)}")
        return bytes.fromhex(text.removeprefix(self.prefix))

    def format(self, value: bytes) -> str:
        if len(value) != self.size:
            raise Rejected(Reason.INVALID, f"{self.name} has {self.size} bytes; this has {len(value)}")
        digits = value.hex()
        return self.prefix + (digits.upper() if self.upper else digits)

    def _mistake(self, text: str) -> str:
        if text != text.strip():
            return "this has white space around it"
        if len(text) != len(self.prefix) + 2 * self.size:
            return f"this has {len(text)} characters"
        if not text.startswith(self.prefix):
            return f"this does not start with {self.prefix}"
        if re.fullmatch(f"{self.prefix}[0-9A-Fa-f]*", text):
            return f"this has {'lower' if self.upper else 'upper'}-case digits"
        return "this has other characters in it"


_PDQ = _HexForm("pdq", _PDQ_BYTES)
_MD5 = _HexForm("md5", 16)
_SHA256 = _HexForm("sha256", 32)
_TLSH = _HexForm("tlsh", 35, prefix="T1", upper=True)
_PSEUDONYM = _HexForm("pseudonym", 32)


def parse_pdq(text: str) -> bytes:
    """64 lower-case hexadecimal digits to 32 bytes. Raises `Rejected` on anything else."""
    return _PDQ.parse(text)


def format_pdq(value: bytes) -> str:
    """32 bytes to 64 lower-case hexadecimal digits. Raises `Rejected` on another length."""
    return _PDQ.format(value)


def parse_md5(text: str) -> bytes:
    """32 lower-case hexadecimal digits to 16 bytes. Raises `Rejected` on anything else."""
    return _MD5.parse(text)


def format_md5(value: bytes) -> str:
    """16 bytes to 32 lower-case hexadecimal digits. Raises `Rejected` on another length."""
    return _MD5.format(value)


def parse_sha256(text: str) -> bytes:
    """64 lower-case hexadecimal digits to 32 bytes. Raises `Rejected` on anything else."""
    return _SHA256.parse(text)


def format_sha256(value: bytes) -> str:
    """32 bytes to 64 lower-case hexadecimal digits. Raises `Rejected` on another length."""
    return _SHA256.format(value)


def parse_tlsh(text: str) -> bytes:
    """``T1`` and 70 upper-case hexadecimal digits (TLSH's own form) to 35 bytes, without the ``T1``.

    Raises `Rejected` on anything else, the older form without ``T1`` among it.
    """
    return _TLSH.parse(text)


def format_tlsh(value: bytes) -> str:
    """35 bytes to ``T1`` and 70 upper-case hexadecimal digits. Raises `Rejected` on another length."""
    return _TLSH.format(value)


def parse_pseudonym(text: str) -> bytes:
    """``<key epoch>:<64 lower-case hexadecimal digits>`` to 36 bytes. Raises `Rejected` on anything else."""
    epoch, colon, digits = text.partition(":")
    if not colon or not _KEY_EPOCH.fullmatch(epoch) or int(epoch) > _MAX_KEY_EPOCH:
        raise Rejected(Reason.INVALID, "pseudonym is written as its key epoch, a colon, and 64 hexadecimal digits")
    return int(epoch).to_bytes(_KEY_EPOCH_BYTES, "big") + _PSEUDONYM.parse(digits)


def format_pseudonym(value: bytes) -> str:
    """36 bytes to ``<key epoch>:<64 lower-case hexadecimal digits>``. Raises `Rejected` on another length."""
    if len(value) != _KEY_EPOCH_BYTES + _PSEUDONYM.size:
        raise Rejected(
            Reason.INVALID, f"pseudonym has {_KEY_EPOCH_BYTES + _PSEUDONYM.size} bytes; this has {len(value)}"
        )
    epoch = int.from_bytes(value[:_KEY_EPOCH_BYTES], "big")
    return f"{epoch}:{_PSEUDONYM.format(value[_KEY_EPOCH_BYTES:])}"


#: How a value is read and written, by the word of its type: those that have one value.
HASH_FORMS: dict[str, tuple[Callable[[str], bytes], Callable[[bytes], str]]] = {
    "pdq": (parse_pdq, format_pdq),
    "text_tlsh": (parse_tlsh, format_tlsh),
    "pseudonym": (parse_pseudonym, format_pseudonym),
    **{f"{kind}_md5": (parse_md5, format_md5) for kind in ("image", "video", "audio", "document")},
    **{f"{kind}_sha256": (parse_sha256, format_sha256) for kind in ("image", "video", "audio", "document")},
}


def parse_vpdq(text: str) -> tuple[VpdqFrame, ...]:
    """The frames of a video, from python-threatexchange's text: a JSON list of ``"<pdq>,<quality>,<seconds>"``.

    The seconds are rounded to the millisecond, half to even. That programme writes them with three significant
    digits (``12.3``, ``1.23e+03``), so a value that came through it is only that exact.

    Raises `Rejected` on anything else, an empty list, more than `MAX_VPDQ_FRAMES` frames
    and frames out of order among it.
    """
    if len(text) > MAX_VPDQ_CHARACTERS:
        raise Rejected(Reason.TOO_LARGE, f"a vpdq text may have {MAX_VPDQ_CHARACTERS} characters")
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, "vpdq is written as a JSON list; this is not JSON") from error
    if not isinstance(items, list):
        raise Rejected(Reason.INVALID, "vpdq is written as a JSON list; this is something else")
    _check_frame_count(len(items))
    frames = tuple(_parse_frame(index, item) for index, item in enumerate(items))
    _check_order(frames)
    return frames


def format_vpdq(frames: Iterable[tuple[int, int, bytes]]) -> str:
    """Frames (milliseconds, quality, 32 bytes) to a JSON list of ``"<pdq>,<quality>,<seconds>"``.

    Seconds have three decimals. Raises `Rejected` on a value out of range, no frame, too many, or out of order.
    """
    checked = tuple(VpdqFrame(*frame) for frame in frames)
    _check_frame_count(len(checked))
    _check_order(checked)
    return json.dumps([_format_frame(index, frame) for index, frame in enumerate(checked)])


def _check_frame_count(count: int) -> None:
    if count == 0:
        raise Rejected(Reason.INVALID, "a vpdq value has at least one frame")
    if count > MAX_VPDQ_FRAMES:
        raise Rejected(Reason.TOO_LARGE, f"a vpdq value has at most {MAX_VPDQ_FRAMES} frames; this has {count}")


def _check_order(frames: tuple[VpdqFrame, ...]) -> None:
    for index in range(1, len(frames)):
        if frames[index].frame_ms < frames[index - 1].frame_ms:
            raise Rejected(Reason.INVALID, f"frame {index}: frames stand in the order of their times")


def _parse_frame(index: int, item: object) -> VpdqFrame:
    parts = item.split(",") if isinstance(item, str) else []
    if len(parts) != 3 or not _QUALITY.fullmatch(parts[1]) or not _SECONDS.fullmatch(parts[2]):
        raise Rejected(Reason.INVALID, f'frame {index}: a frame is written as "<pdq>,<quality 0-100>,<seconds>"')
    try:
        pdq = parse_pdq(parts[0])
    except Rejected as error:
        raise Rejected(error.reason, f"frame {index}: {error.message}") from error
    frame_ms = int((Decimal(parts[2]) * 1000).to_integral_value(ROUND_HALF_EVEN))
    return _checked_frame(index, VpdqFrame(frame_ms, int(parts[1]), pdq))


def _format_frame(index: int, frame: VpdqFrame) -> str:
    _checked_frame(index, frame)
    seconds, milliseconds = divmod(frame.frame_ms, 1000)
    return f"{frame.pdq.hex()},{frame.quality},{seconds}.{milliseconds:03d}"


def _checked_frame(index: int, frame: VpdqFrame) -> VpdqFrame:
    if not 0 <= frame.frame_ms <= MAX_FRAME_MS:
        raise Rejected(Reason.INVALID, f"frame {index}: its time must lie within 0..{MAX_FRAME_MS} ms")
    if not 0 <= frame.quality <= 100:
        raise Rejected(Reason.INVALID, f"frame {index}: its quality must lie within 0..100")
    if len(frame.pdq) != _PDQ_BYTES:
        raise Rejected(Reason.INVALID, f"frame {index}: its hash has {_PDQ_BYTES} bytes; this has {len(frame.pdq)}")
    return frame
