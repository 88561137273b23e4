"""A report as one CSV file: a row for each cell, so that no table needs a file, or a form, of its own."""

from __future__ import annotations

import csv
from io import StringIO

from exchange.report.payload import Payload
from exchange.report.sheet import Sheet

_HEAD = ("table", "row", "column", "value")
#: A spreadsheet would take what begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(sheet: Sheet, payload: Payload) -> bytes:
    """Return the report as CSV (RFC 4180). Whatever a spreadsheet could run stands behind an apostrophe."""
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(_HEAD)
    writer.writerow(("report", sheet.title, "period", sheet.subtitle))
    writer.writerow(("report", sheet.title, "how to check it", payload.verify))
    for chapter in sheet.chapters:
        for grid in chapter.grids:
            for row in grid.rows:
                name, *values = row
                for column, value in zip(grid.columns[1:], values, strict=True):
                    writer.writerow([_inert(each) for each in (grid.id, name, column, value)])
    return out.getvalue().encode()


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
