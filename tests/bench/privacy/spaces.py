"""What an attacker tries: all mobile numbers of a country, and addresses and handles that are made of names.

The numbers are the blocks that the numbering plan gives to mobiles (phonenumbers' metadata). Names are made up here, as
many as a list of real ones has: what counts is how many candidates there are, and what one costs. Each is its own
normal form, so none is tried twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, product

import phonenumbers

from exchange.normal.accounts import Account, AccountType

UK = 44
#: A block is told by its first five digits, of ten; the numbers in it by the rest.
_BLOCKS, _IN_BLOCK = range(70_000, 80_000), 100_000

_SYLLABLES = [a + b for a, b in product("bcdfghjklmnprstvwyzx", "aeiou")]
_GIVEN, _FAMILY = (
    [name.encode() for name in islice(map("".join, product(_SYLLABLES, repeat=length)), count)]
    for length, count in ((2, 2_000), (3, 20_000))
)
#: With none, or one of so many numbers behind a name.
_BEHIND_ADDRESS = [b"", *(b"%02d" % number for number in range(100))]
_BEHIND_HANDLE = [b"", *(b"%d" % number for number in range(1_000))]
_JOINED = (b"%b%b%b", b"%b.%b%b", b"%b_%b%b")
_HOSTS = (b"outlook.com", b"hotmail.com", b"hotmail.co.uk", b"yahoo.co.uk", b"icloud.com")
_ADDRESSES = [b"%b%b%b@gmail.com", *(form + b"@" + host for form, host in product(_JOINED, _HOSTS))]


@dataclass(frozen=True, slots=True)
class Space:
    """Candidates in a fixed order."""

    type: AccountType
    #: What they are, for people.
    said: str
    size: int
    #: The normal form of one of them.
    at: Callable[[int], bytes]

    def inputs(self, numbers: range) -> Iterator[bytes]:
        """Yield what of some candidates is hashed or blinded."""
        head, at = Account(self.type, "").to_bytes(), self.at
        return (head + at(number) for number in numbers)

    def accounts(self, numbers: range) -> list[Account]:
        """Return some candidates as accounts."""
        return [Account(self.type, self.at(number).decode()) for number in numbers]


@cache
def mobile_blocks() -> list[int]:
    """Return the first five digits of the blocks of the UK's plan that are for mobiles."""
    mobile = phonenumbers.PhoneNumberType.MOBILE
    return [
        block
        for block in _BLOCKS
        if phonenumbers.number_type(phonenumbers.PhoneNumber(UK, block * _IN_BLOCK)) == mobile
    ]


def spaces() -> dict[str, Space]:
    """Return the spaces by name."""
    blocks = mobile_blocks()

    def phone(number: int) -> bytes:
        block, rest = divmod(number, _IN_BLOCK)
        return b"+%d%d%05d" % (UK, blocks[block], rest)

    families, names = len(_FAMILY), len(_GIVEN) * len(_FAMILY)

    def named(forms: list[bytes] | tuple[bytes, ...], behind: list[bytes]) -> Callable[[int], bytes]:
        def at(number: int) -> bytes:
            rest, form = divmod(number, len(forms))
            rest, last = divmod(rest, len(behind))
            return forms[form] % (_GIVEN[rest // families], _FAMILY[rest % families], behind[last])

        return at

    return {
        "phone": Space(AccountType.PHONE, "all UK mobile numbers", len(blocks) * _IN_BLOCK, phone),
        "email": Space(
            AccountType.EMAIL,
            f"addresses of {names:,} names at {1 + len(_HOSTS)} providers",
            names * len(_BEHIND_ADDRESS) * len(_ADDRESSES),
            named(_ADDRESSES, _BEHIND_ADDRESS),
        ),
        "handle": Space(
            AccountType.HANDLE,
            f"handles of {names:,} names, up to three digits",
            names * len(_BEHIND_HANDLE) * len(_JOINED),
            named(_JOINED, _BEHIND_HANDLE),
        ),
    }
