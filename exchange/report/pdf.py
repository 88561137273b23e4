"""A report as a PDF, to print. The same report makes the same bytes.

Its letters are Bitstream Vera, which comes with ReportLab. A letter that it lacks is never left out unseen: it is
written as its number, for a member's name must not keep the others' report from being made.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from io import BytesIO
from pathlib import Path

import reportlab
from reportlab.graphics import shapes
from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Table

from exchange.report.payload import Payload
from exchange.report.picture import HEIGHT, SIZE, WIDTH, Box, Label, Line, Picture
from exchange.report.sheet import FACTS, Grid, Sheet

_FONTS = Path(reportlab.__file__).parent / "fonts"
_PLAIN, _BOLD = "Report", "ReportBold"
_INK, _QUIET, _RULE = HexColor("#1a1a1a"), HexColor("#4a4a4a"), HexColor("#d0d0d0")
_WIDTH = A4[0] - 36 * mm
#: Of a column, in letters.
_NARROWEST, _BROADEST = 9, 32


def _style(size: float, before: float, *, bold: bool = False, quiet: bool = False) -> ParagraphStyle:
    return ParagraphStyle(
        f"{size}-{bold}-{quiet}",
        fontName=_BOLD if bold else _PLAIN,
        fontSize=size,
        leading=size * 1.35,
        spaceBefore=before,
        spaceAfter=3,
        textColor=_QUIET if quiet else _INK,
        keepWithNext=bold,
    )


def as_pdf(sheet: Sheet, payload: Payload) -> bytes:
    """Return the report as a PDF."""
    for name, file in ((_PLAIN, "Vera.ttf"), (_BOLD, "VeraBd.ttf")):
        pdfmetrics.registerFont(TTFont(name, str(_FONTS / file)))
    out = BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=18 * mm,
        rightMargin=18 * mm,
        topMargin=16 * mm,
        bottomMargin=18 * mm,
        title=sheet.title,
        lang="en",
        invariant=1,
    )

    def foot(canvas: Canvas, _document: object) -> None:
        canvas.setFont(_PLAIN, 7)
        canvas.drawString(18 * mm, 10 * mm, _written(f"{sheet.title}. To check it: {payload.verify}"))
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, str(canvas.getPageNumber()))

    document.build(list(_story(sheet)), onFirstPage=foot, onLaterPages=foot)
    return out.getvalue()


def _story(sheet: Sheet) -> Iterator[Flowable]:
    yield _text(sheet.title, _style(17, 0, bold=True))
    yield _text(sheet.subtitle, _style(11, 0))
    for chapter in sheet.chapters:
        yield _text(chapter.title, _style(13, 14, bold=True))
        for paragraph in chapter.paragraphs:
            yield _text(paragraph, _style(9, 3))
        for grid in chapter.grids:
            yield _text(grid.caption, _style(9, 9, bold=True))
            if grid.picture is not None:
                yield _drawing(grid.picture)
            yield _table(grid) if grid.rows else _text("Nothing was measured.", _style(8, 0))
            if grid.note:
                yield _text(grid.note, _style(8, 3, quiet=True))


def _table(grid: Grid) -> Table:
    style, head = _style(8, 0), ParagraphStyle("head", _style(8, 0), fontName=_BOLD)
    cells = [[_text(each, head) for each in grid.columns]]
    cells += [[_text(each, head if row[0] == "all" else style) for each in row] for row in grid.rows]
    table = Table(cells, colWidths=_widths(grid), repeatRows=1, hAlign="LEFT")
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.5, _RULE),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 1),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
        ]
    )
    return table


def _widths(grid: Grid) -> list[float]:
    """Return how wide each column is: as its longest text asks for, within bounds; two columns stand where they do."""
    if grid.columns == FACTS:
        return [0.3 * _WIDTH, 0.7 * _WIDTH]
    if len(grid.columns) == 2:
        return [0.5 * _WIDTH] * 2
    longest = [max(len(row[at]) for row in (grid.columns, *grid.rows)) for at in range(len(grid.columns))]
    asked = [min(max(each, _NARROWEST), _BROADEST) for each in longest]
    return [each / sum(asked) * _WIDTH for each in asked]


def _text(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(escape(_written(text), quote=False), style)


def _written(text: str) -> str:
    """Return a text with every letter that the font lacks as its number."""
    font = pdfmetrics.getFont(_PLAIN)
    assert isinstance(font, TTFont)
    known = font.face.charToGlyph
    return "".join(each if ord(each) in known else f"U+{ord(each):04X}" for each in text)


def _drawing(picture: Picture) -> shapes.Drawing:
    drawing = shapes.Drawing(_WIDTH, _WIDTH * HEIGHT / WIDTH)
    drawing.scale(_WIDTH / WIDTH, _WIDTH / WIDTH)
    for shape in picture.shapes:
        drawing.add(_shape(shape))
    return drawing


def _shape(shape: Line | Box | Label) -> shapes.Shape:
    colour = HexColor(shape.colour)
    match shape:
        case Line():
            points = [part for x, y in shape.points for part in (x, HEIGHT - y)]
            drawn = shapes.PolyLine(points, strokeColor=colour, strokeWidth=shape.width)
            if shape.dashed:
                drawn.strokeDashArray = [6, 4]
            return drawn
        case Box():
            place = (shape.x, HEIGHT - shape.y - shape.height, shape.width, shape.height)
            box = shapes.Rect(*place)
            box.fillColor, box.strokeColor = white if shape.hollow else colour, colour
            return box
        case Label():
            text = shapes.String(shape.x, HEIGHT - shape.y, _written(shape.text))
            text.textAnchor, text.fillColor = shape.anchor, colour
            text.fontName, text.fontSize = _PLAIN, SIZE - 1
            return text
