"""An address that cannot be listened on, told with the setting that names it."""

from __future__ import annotations

from exchange.errors import Fatal, Reason


def cannot_listen(address: str, setting: str, why: object = "") -> Fatal:
    """Return the error (CONFIG) for an address that a setting names."""
    return Fatal(
        f"cannot listen on {address}{f': {why}' if why else ''}",
        reason=Reason.CONFIG,
        hint=f"{setting} in the configuration names it: does another program, perhaps another hub, listen there?",
    )
