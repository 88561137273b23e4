"""The files that facts are kept in: one for each platform, and one for what is the same on all of them."""

from __future__ import annotations

from pathlib import Path

from exchange.errors import Reason, Rejected
from exchange.guide.facts import Country, Profile, read

HERE = Path(__file__).parent
COUNTRY = HERE / "uk.json"
PROFILES = HERE / "profiles"
#: Far more than a profile that fits into a leaf.
_MAX_BYTES = 1024 * 1024


def read_country(path: Path = COUNTRY) -> Country:
    """Return what is the same on every platform. Raises `Rejected`."""
    return read(Country, _bytes(path), str(path))


def read_profile_file(path: Path) -> Profile:
    """Return a platform's profile. Raises `Rejected`."""
    return read(Profile, _bytes(path), str(path))


def own_profiles() -> list[Path]:
    """Return the files of the profiles that come with the project."""
    return sorted(PROFILES.glob("*.json"))


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise Rejected(Reason.CONFIG, f"{path}: {error.strerror or 'cannot be read'}") from error
    if len(data) > _MAX_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"{path}: is more than {_MAX_BYTES:,} bytes")
    return data
