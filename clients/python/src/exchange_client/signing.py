"""Our signing keys: the one in use, and the next one, which waits until the directory has it in force.

A key has no end of its own. It is renewed by hand: `exchange key next` makes another beside it, an operator registers
that, and from then on we sign with it. What was signed before goes on as it is while the old key is in force; what
meets a hub after the old key's revocation is signed anew (`exchange_client.publisher`). Key files are read, never
written: they may be secrets that somebody mounts.
([why](docs/adr/0010-the-next-key-waits-beside-the-first.md))
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from exchange.domain.directory import Directory
from exchange.domain.statement import Signature, Statement
from exchange.errors import ExchangeError, Rejected
from exchange.ledger.dsse import pae
from exchange.ledger.ed25519 import SigningKey
from exchange_client.config import ClientConfig

_log = logging.getLogger("exchange_client")


class SigningKeys:
    """What we hold, and which of it we sign with."""

    def __init__(self, config: ClientConfig, refresh: Callable[[], Awaitable[Directory]]) -> None:
        """Read the files; ``refresh`` returns the verified directory as it is now. Raises `Rejected` (CONFIG)."""
        self._config = config
        self._refresh = refresh
        self._present = config.load_signing_key()
        self._held = [self._present]
        #: When `sign_anew` has asked the directory last, and what that raised.
        self._asked_at_s = -math.inf
        self._answer: ExchangeError | None = None
        self.look()

    @property
    def key_id(self) -> bytes:
        """Id of the key in use."""
        return self._present.key_id

    @property
    def present(self) -> SigningKey:
        """The key in use."""
        return self._present

    @property
    def held(self) -> tuple[SigningKey, ...]:
        """All that we hold, in use or waiting."""
        return tuple(self._held)

    def sign(self, message: bytes) -> bytes:
        """Sign with the key in use."""
        return self._present.sign(message)

    def look(self) -> bool:
        """Read the files again; whether there is a key that is not in use yet."""
        held: dict[bytes, SigningKey] = {}
        for path in (self._config.signing_key, self._config.next_signing_key):
            try:
                key = self._config.load_signing_key(path)
            except Rejected:
                # There is no next one, or it is being written; the one in use is in our hands.
                continue
            held[key.key_id] = key
        self._held = list(held.values()) or self._held
        return any(key.key_id != self.key_id for key in self._held)

    def choose(self, directory: Directory) -> bool:
        """Sign with the newest of our keys that is in force; whether that is another one now."""
        live = {key.key_id: key.since for key in directory.live_keys(self._config.member, self._config.role_number)}
        ours = [key for key in self._held if key.key_id in live]
        newest = max(ours, key=lambda key: live[key.key_id], default=self._present)
        changed = newest.key_id != self.key_id
        if changed:
            _log.warning("signing with another key now: %s", newest.public_key.hex())
            self._present = newest
        return changed

    async def renew(self) -> None:
        """Ask the directory whether the next key is in force. Raises `ExchangeError`."""
        self.choose(await self._refresh())

    async def sign_anew(self, statement: Statement, refused_at_s: float) -> Statement | None:
        """Return a statement of ours under the key that is in force now; None where that is the one it has.

        Its id stays: that is of what is said, not of who signed it. However many were refused at that moment of the
        monotonic clock, the directory is asked once. Raises `ExchangeError`.
        """
        if _signed_by(statement, self.key_id):
            await self._ask_since(refused_at_s)
        if _signed_by(statement, self.key_id):
            return None
        signature = Signature(self.key_id, self.sign(pae(statement.payload_type, statement.payload)))
        return replace(statement, signatures=(signature,))

    async def _ask_since(self, moment_s: float) -> None:
        if self._asked_at_s <= moment_s:
            begun_s, self._answer = time.monotonic(), None
            self.look()
            try:
                await self.renew()
            except ExchangeError as error:
                self._answer = error
            self._asked_at_s = begun_s
        if self._answer is not None:
            raise self._answer


def _signed_by(statement: Statement, key_id: bytes) -> bool:
    return any(signature.key_id == key_id for signature in statement.signatures)
