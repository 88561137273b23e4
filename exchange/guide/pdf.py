"""The guide as a PDF, to print. The same guide makes the same bytes.

Its letters are Bitstream Vera, which comes with ReportLab; a text with other letters (such as the Welsh w and y with a
circumflex) needs a font that has them, and is refused without one: a letter must not be left out unseen.
"""

from __future__ import annotations

from html import escape
from io import BytesIO
from pathlib import Path

import reportlab
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate

from exchange.errors import Reason, Rejected
from exchange.guide.outline import Part, outline
from exchange.guide.showing import Showing

_FONTS = Path(reportlab.__file__).parent / "fonts"
_INK, _QUIET, _ALARM = HexColor("#1a1a1a"), HexColor("#4a4a4a"), HexColor("#9b0000")
#: Size, space before, ink and whether it is bold, for each part.
_SET = {
    Part.TITLE: (20, 0, _INK, True),
    Part.CHAPTER: (15, 16, _INK, True),
    Part.SECTION: (12, 10, _INK, True),
    Part.HEAD: (10, 6, _INK, True),
    Part.ALARM: (11, 5, _ALARM, True),
    Part.WARNING: (10, 4, _ALARM, False),
    Part.FACT: (10, 4, _INK, False),
    Part.TEXT: (10, 4, _INK, False),
    Part.SOURCE: (7.5, 0, _QUIET, False),
}

#: What is never left alone at the foot of a page: what belongs to it follows.
_KEPT = frozenset({Part.CHAPTER, Part.SECTION, Part.HEAD, Part.WARNING, Part.FACT, Part.ALARM})


def as_pdf(showing: Showing, font: Path | None = None) -> bytes:
    """Return the guide as a PDF. Raises `Rejected` (CONFIG) for a font that cannot be read, or lacks a letter."""
    plain, bold = _fonts(font)
    styles = {
        part: ParagraphStyle(
            part.value,
            fontName=bold if heavy else plain,
            fontSize=size,
            leading=size * 1.35,
            spaceBefore=before,
            textColor=ink,
            keepWithNext=part in _KEPT,
            leftIndent=10 if part in (Part.FACT, Part.SOURCE) else 0,
        )
        for part, (size, before, ink, heavy) in _SET.items()
    }
    pieces = list(outline(showing))
    _check_letters("".join(piece.text for piece in pieces), plain)
    story: list[Flowable] = [Paragraph(escape(piece.text, quote=False), styles[piece.part]) for piece in pieces]
    for paragraph, following in zip(story, pieces[1:], strict=False):
        if following.part is Part.SOURCE:
            paragraph.keepWithNext = 1  # a fact, its address and where it was seen stay on one page
    out = BytesIO()
    title = pieces[0].text
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=18 * mm,
        rightMargin=18 * mm,
        topMargin=16 * mm,
        bottomMargin=18 * mm,
        title=title,
        lang=showing.words.language,
        invariant=1,
    )

    def foot(canvas: Canvas, _document: object) -> None:
        canvas.setFont(plain, 8)
        canvas.drawString(18 * mm, 10 * mm, f"{title} · {showing.words.day(showing.guide.today)}")
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, str(canvas.getPageNumber()))

    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return out.getvalue()


def _fonts(font: Path | None) -> tuple[str, str]:
    files = (font, font) if font else (_FONTS / "Vera.ttf", _FONTS / "VeraBd.ttf")
    names = ("Guide", "GuideBold")
    for name, file in zip(names, files, strict=True):
        try:
            pdfmetrics.registerFont(TTFont(name, str(file)))
        except (TTFError, OSError) as error:
            raise Rejected(Reason.CONFIG, f"{file}: not a TrueType font that can be read") from error
    return names


def letters_lacking(text: str, font: Path | None = None) -> list[str]:
    """Return the letters of a text that the PDF's font lacks. Raises `Rejected` (CONFIG) as `as_pdf` does."""
    plain, _ = _fonts(font)
    return _lacking(text, plain)


def _lacking(text: str, name: str) -> list[str]:
    font = pdfmetrics.getFont(name)
    assert isinstance(font, TTFont)
    known = font.face.charToGlyph
    return sorted(letter for letter in set(text) if ord(letter) not in known and not letter.isspace())


def _check_letters(text: str, name: str) -> None:
    missing = _lacking(text, name)
    if missing:
        raise Rejected(
            Reason.CONFIG,
            f"the PDF's font has no {' '.join(missing[:20])}",
            hint="name one that has them: --font /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        )
