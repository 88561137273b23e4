"""A report as one page: no script, nothing from elsewhere, its style and its plots within it.

Every value is escaped by the template's own setting. The policy in the page lets that one style through, by its hash.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from exchange.report.payload import Payload
from exchange.report.sheet import FACTS, Sheet

HERE = Path(__file__).parent


def as_html(sheet: Sheet, payload: Payload, pictures: Mapping[str, str]) -> bytes:
    """Return the page. ``pictures`` are the plots as SVG, by id."""
    jinja = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style = (HERE / "static" / "report.css").read_text()
    allowed = base64.b64encode(sha256(style.encode()).digest()).decode()
    render: Callable[..., str] = jinja.get_template("report.html").render
    return render(
        sheet=sheet,
        facts=FACTS,
        verify=payload.verify,
        policy=f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704 - our own file
        pictures={name: Markup(svg) for name, svg in pictures.items()},  # noqa: S704 - made by ElementTree, which escapes
    ).encode()
