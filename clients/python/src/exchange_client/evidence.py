"""What does not hold, written down: one file to show to other members, and what they must not see in another.

The second has records in clear, and for whom they are: identifiers of people, which leaves do not have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

#: How the name of the second file ends.
NOT_SHARED = "not-to-be-shared.json"


def keep_evidence(path: Path, shown: Mapping[str, object], records: Mapping[str, object]) -> tuple[Path | None, str]:
    """Write what was shown into this file, and records beside it; return the file, if it is there, and what to say.

    Raises nothing where that fails, but says so: a full disk must not hide a lie.
    """
    try:
        _write(path, shown)
    except OSError as error:
        return None, f"the evidence could not be written: {error}"
    if not records:
        return path, f"evidence is in {path}"
    beside = path.with_suffix(f".{NOT_SHARED}")
    try:
        _write(beside, records)
    except OSError as error:
        return path, f"evidence is in {path}, but its records could not be written: {error}"
    return path, f"evidence is in {path}, and its records, which are not to be shared, in {beside}"


def _write(path: Path, data: Mapping[str, object]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(data, indent=1))
