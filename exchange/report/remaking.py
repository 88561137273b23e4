"""Whether a report's forms say what it says: they are made again, and compared to the byte."""

from __future__ import annotations

from exchange.report.building import TEXTS, forms_of
from exchange.report.checking import Check, State
from exchange.report.payload import Payload, digests, release


def check_forms(payload: Payload) -> Check:
    """Say whether page, table and plots say what the figures say: they are made again."""
    what = "page, table and plots say what the figures say"
    if payload.release != release():
        return Check(what, State.NOT_CHECKED, f"made by release {payload.release[:40]}, and this is {release()}")
    made = digests(forms_of(payload, pdf=False))
    signed = {name: digest for name, digest in payload.files.items() if name.endswith(TEXTS)}
    if made != signed:
        names = sorted(name for name in made.keys() | signed.keys() if made.get(name) != signed.get(name))
        return Check(what, State.FAILED, f"other than this release makes them: {', '.join(names)}")
    return Check(what, State.HOLDS, f"{len(made)} files made again, to the byte; the PDF is not compared")
