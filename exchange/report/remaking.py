"""Whether a report's forms say what it says: they are made again, and compared to the byte."""

from __future__ import annotations

from exchange.report.building import TEXTS, forms_of
from exchange.report.checking import Check, State
from exchange.report.payload import HOW, Payload, digests, release

PDF = "report.pdf"
PAGES = "page, table and plots say what the figures say"
PAPER = "the PDF says what the figures say"


def check_forms(payload: Payload) -> tuple[Check, Check]:
    """Say whether page, table, plots and PDF say what the figures say: they are made again."""
    if payload.release != release():
        other = f"made by release {payload.release[:40]}, and this is {release()}"
        return Check(PAGES, State.NOT_CHECKED, other), Check(PAPER, State.NOT_CHECKED, other)
    made = digests(forms_of(payload))
    return _check_pages(payload, made), _check_paper(payload, made)


def _check_pages(payload: Payload, every: dict[str, str]) -> Check:
    if payload.verify != HOW:
        return Check(PAGES, State.FAILED, "they say that it is checked otherwise than this release does")
    made = {name: digest for name, digest in every.items() if name.endswith(TEXTS)}
    signed = {name: digest for name, digest in payload.files.items() if name.endswith(TEXTS)}
    if made != signed:
        names = sorted(name for name in made.keys() | signed.keys() if made.get(name) != signed.get(name))
        return Check(PAGES, State.FAILED, f"other than this release makes them: {', '.join(names)}")
    return Check(PAGES, State.HOLDS, f"{len(made)} files made again, to the byte")


def _check_paper(payload: Payload, made: dict[str, str]) -> Check:
    """Say whether the PDF is the one that is made here: another release of its library makes other bytes."""
    if payload.files.get(PDF) == made[PDF]:
        return Check(PAPER, State.HOLDS, "made again, to the byte")
    return Check(PAPER, State.NOT_CHECKED, "not as it is made here, perhaps by its library's release: rely on the page")
