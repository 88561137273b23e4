"""Makes a report's files of what it says, and signs it: page, PDF, table, plots, the payload and its envelope."""

from __future__ import annotations

from msgspec.structs import replace

from exchange.report.envelope import sealed
from exchange.report.page import as_html
from exchange.report.payload import ENVELOPE_FILE, PAYLOAD_FILE, Payload, digests, encoded
from exchange.report.pdf import as_pdf
from exchange.report.sheet import sheet_of
from exchange.report.svg import as_svg
from exchange.report.table_text import as_csv
from exchange.signatures.signed import Signer

#: The forms whose bytes follow from the payload and this release alone; those of a PDF also from its library.
TEXTS = (".html", ".csv", ".svg")


def forms_of(payload: Payload, *, pdf: bool = True) -> dict[str, bytes]:
    """Return every form of a report, by its file's name. The same payload makes the same bytes."""
    sheet = sheet_of(payload)
    pictures = {
        grid.picture.id: as_svg(grid.picture)
        for chapter in sheet.chapters
        for grid in chapter.grids
        if grid.picture is not None
    }
    made = {f"plots/{name}.svg": svg.encode() for name, svg in pictures.items()}
    made["report.html"] = as_html(sheet, payload, pictures)
    made["report.csv"] = as_csv(sheet, payload)
    if pdf:
        made["report.pdf"] = as_pdf(sheet, payload)
    return made


def files_of(payload: Payload, signer: Signer) -> dict[str, bytes]:
    """Return all files of a report: its forms, what it says with their digests, and that signed."""
    made = forms_of(payload)
    said = encoded(replace(payload, files=digests(made)))
    return {**made, PAYLOAD_FILE: said, ENVELOPE_FILE: sealed(said, signer)}
