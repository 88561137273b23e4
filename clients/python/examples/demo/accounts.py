"""The demo's accounts: one abusive user with one mailbox on three platforms, and the search for where it went.

What a platform knows of its users it has from their sign-ups; here it stands below. No identifier may be found in
anything that the demo writes, and neither may a plain hash of one, which anybody could look up.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from exchange.normal.accounts import Account, AccountType, normal_account

#: How the same person signed up at each platform, under the reference that the platform gave the account.
ABUSER = {
    "alpha": ("alpha-user-1042", "Evan.Der.Troll+news@GoogleMail.com"),
    "beta": ("beta-user-7", "evandertroll@gmail.com"),
    "gamma": ("gamma-user-93", "EvanDer.Troll+votes@gmail.com"),
}
#: A user of beta and gamma who did nothing.
UNRELATED = ("a-quiet-user", "evan.der.trollope@gmail.com")
_ALGORITHMS = ("md5", "sha1", "sha256")


def email(text: str) -> Account:
    """Return a mailbox in normal form."""
    return normal_account(AccountType.EMAIL, text)


def users(platform: str) -> Iterator[tuple[str, Account]]:
    """Yield reference and mailbox of a platform's users: some, the quiet one, and the abuser among them."""
    for number in range(20):
        yield f"{platform}-user-{1000 + number}", email(f"{secrets.token_hex(6)}@example.org")
    for reference, address in (UNRELATED, ABUSER[platform]):
        yield reference, email(address)


def traces() -> dict[str, bytes]:
    """Return what must be found nowhere: each spelling, the normal form, and their plain hashes."""
    spellings = {address for _, address in (*ABUSER.values(), UNRELATED)}
    texts = spellings | {spelling.lower() for spelling in spellings} | {email(spelling).text for spelling in spellings}
    found = {f"the address {text}": text.encode() for text in texts}
    for text in texts:
        for algorithm in _ALGORITHMS:
            digest = hashlib.new(algorithm, text.encode(), usedforsecurity=False)
            found[f"{algorithm} of {text}, in hexadecimal"] = digest.hexdigest().encode()
            found[f"{algorithm} of {text}"] = digest.digest()
    return found


def search(folder: Path, wanted: dict[str, bytes]) -> tuple[int, dict[str, list[str]]]:
    """Look through every file below a folder; return how many bytes that were, and where each thing was found."""
    places: dict[str, list[str]] = {}
    looked_at = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        looked_at += len(data)
        for name, what in wanted.items():
            if what in data or what.upper() in data:
                places.setdefault(name, []).append(str(path.relative_to(folder)))
    return looked_at, places
