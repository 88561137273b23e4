"""Makes a guide's files: pages, data, mail, PDF, QR code, a pack of all of it. The same guide makes the same bytes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import segno

from exchange.errors import Reason, Rejected
from exchange.guide.checking import check_country, check_profile
from exchange.guide.facts import ADDRESS, plain
from exchange.guide.files import HERE
from exchange.guide.outline import as_text
from exchange.guide.pages import Pages, language_page, snippet
from exchange.guide.pdf import as_pdf
from exchange.guide.showing import Showing
from exchange.guide.whole import Guide
from exchange.guide.words import LANGUAGES, words_of

#: What a party or a returning officer sends on; the pages are for a server.
_PACKED = (".txt", ".pdf", ".svg", ".png", "snippet-en.html", "snippet-cy.html", "guide.json")
#: What the numbers under "measured" are, for whoever reads them without the pages.
_MEASURES = {
    "what": "how long this platform took to act on other platforms' signals; not how long it takes to answer a report",
    "from": "the signal's arrival at the exchange",
    "to": "when the platform says that it acted",
}
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def check(guide: Guide) -> None:
    """Return if everything in a guide may be shown. What is stale may, and is marked. Raises `Rejected` (INVALID)."""
    found = [(guide.country.country, finding) for finding in check_country(guide.country, guide.today)]
    for entry in guide.entries:
        found += [(entry.profile.platform, each) for each in check_profile(entry.profile, guide.today)]
    wrong = [f"{name}: {finding}" for name, finding in found if not finding.stale]
    names = [entry.profile.platform for entry in guide.entries]
    wrong += [f"{name}: is there twice" for name in sorted(set(names)) if names.count(name) > 1]
    if guide.address and not (ADDRESS.fullmatch(guide.address) and guide.address.endswith("/")):
        wrong.append("the guide's address must begin with https:// and end with /")
    if wrong:
        raise Rejected(Reason.INVALID, f"this may not be shown: {wrong[0]}", hint="; ".join(wrong[1:4]))


def files_of(guide: Guide, *, font: Path | None = None, pdf: Sequence[str] = LANGUAGES) -> dict[str, bytes]:
    """Return every file of a guide by its place. ``pdf`` are the languages to make one of. Raises `Rejected`."""
    check(guide)
    languages = [words_of(language) for language in LANGUAGES]
    showings = {words.language: Showing(guide, words) for words in languages}
    made: dict[str, bytes] = {"index.html": language_page(guide, showings, languages).encode()}
    made["guide.css"] = (HERE / "static" / "guide.css").read_bytes()
    made["guide.json"] = _data(guide)
    for language, showing in showings.items():
        for place, text in Pages(showing, languages, has_pdf=language in pdf).all():
            made[place] = text.encode()
        made[f"guide-{language}.txt"] = as_text(showing).encode()
        if language in pdf:
            made[f"guide-{language}.pdf"] = as_pdf(showing, font)
        if guide.address:
            made[f"snippet-{language}.html"] = snippet(showing).encode()
    if guide.address:
        made |= dict(_codes(guide.address))
    made["pack.zip"] = _pack(made)
    return made


def _data(guide: Guide) -> bytes:
    entries: list[dict[str, Any]] = [
        {
            "confirmed": entry.confirmed,
            "said_by": entry.said_by,
            "measured": entry.measured and _MEASURES | msgspec.to_builtins(entry.measured),
            "profile": plain(entry.profile),
        }
        for entry in guide.entries
    ]
    whole = {
        "made": guide.today.isoformat(),
        "stale_after_days": guide.stale_days,
        "country": plain(guide.country),
        "platforms": entries,
    }
    return (json.dumps(whole, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()


def _codes(address: str) -> Iterator[tuple[str, bytes]]:
    code = segno.make(address, error="m", micro=False)
    svg, png = BytesIO(), BytesIO()
    code.save(svg, kind="svg", scale=8, border=4, dark="#000", light="#fff", xmldecl=False, title=address)
    code.save(png, kind="png", scale=8, border=4)
    yield "qr.svg", svg.getvalue()
    yield "qr.png", png.getvalue()


def _pack(made: dict[str, bytes]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as pack:
        for place, data in sorted(made.items()):
            if place.endswith(_PACKED):
                entry = zipfile.ZipInfo(place, _LONG_AGO)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                pack.writestr(entry, data)
    return out.getvalue()
