"""What a report's files say: the same in each form, the same each time, whatever a member has filled in."""

from __future__ import annotations

import csv
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from io import StringIO
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from exchange.domain.lag import Histogram, Stage
from exchange.report.building import files_of, forms_of
from exchange.report.figures import NOT_SHOWN, Counted, figures_of
from exchange.report.payload import HOW, LagLine, MemberLine, Payload
from exchange.report.pdf import as_pdf
from exchange.report.picture import bars
from exchange.report.sheet import sheet_of
from exchange.report.svg import as_svg
from tests.unit.guide.site import parsed
from tests.unit.report.example import KEY, counted, histogram, of_plain, payload, plain

ATTACK = "<script>alert(1)</script>'\"{{7*7}}{% raw %}&lt;\u202e"


def page(said: Payload) -> str:
    return forms_of(said, pdf=False)["report.html"].decode()


def cells(said: Payload) -> list[tuple[str, str, str, str]]:
    rows = list(csv.reader(StringIO(forms_of(said, pdf=False)["report.csv"].decode())))
    return [(table, row, column, value) for table, row, column, value in rows]


def test_the_same_report_makes_the_same_bytes() -> None:
    assert files_of(payload(), KEY) == files_of(payload(), KEY)


def test_every_cell_of_the_page_is_in_the_table_and_none_more() -> None:
    said = payload()
    document = parsed(page(said))
    shown = [cell.words() for cell in document.every("td")]
    assert shown == [value.removeprefix("'") for _, _, _, value in cells(said)[3:]]
    assert len(shown) > 150
    assert NOT_SHOWN in shown


def test_every_form_says_how_it_is_checked() -> None:
    made = forms_of(payload())
    assert HOW.encode() in made["report.html"]
    assert HOW.encode() in made["report.csv"]
    assert HOW.encode() in files_of(payload(), KEY)["report.json"]
    assert made["report.pdf"].startswith(b"%PDF-")


def test_small_numbers_are_in_no_file() -> None:
    """Three signals with a label that nobody else uses, and three in one week: neither is there, nor can it be told."""
    tables = {table.id: table for table in payload().figures.tables}
    labels = {row.name: row.count for row in tables["signals-by-label"].parts.rows}
    assert labels == {"harassment_targeted": NOT_SHOWN, "violence_threats": NOT_SHOWN, "misleading_spam": NOT_SHOWN}
    weeks = [row.count for row in tables["signals-by-period"].parts.rows]
    assert weeks.count(NOT_SHOWN) == 3
    assert tables["erased-by-reason"].total == "fewer than 5"
    assert tables["erased-by-reason"].parts.withheld
    debts = {row.name: row for row in tables["debts-by-member"].parts.rows}
    assert debts["beta"].parts is not None
    assert [row.count for row in debts["beta"].parts.rows] == [9, 6, 5]
    assert debts["gamma"].parts is not None
    assert [row.count for row in debts["gamma"].parts.rows] == [NOT_SHOWN, 0, NOT_SHOWN]


def test_who_owes_for_a_few_is_not_told_however_many_owe() -> None:
    few = replace_counted(endings={(False, 1): 4})
    (table,) = [table for table in figures_of(few, 5).tables if table.id == "debts-by-member"]
    assert (table.total, table.parts.rows, table.parts.withheld) == (NOT_SHOWN, (), True)


def replace_counted(**changes: Any) -> Counted:
    return replace(counted(), **changes)


def test_what_was_measured_too_seldom_has_no_usual_time() -> None:
    lines = {line.of: line for line in payload().figures.lag_trend}
    assert lines["week of 2027-05-03"].p50_ms is None
    assert lines["week of 2027-05-03"].measured == "fewer than 20"
    assert lines["week of 2027-05-10"].measured == "20 or more"
    assert lines["week of 2027-05-10"].p50_ms == 128


@pytest.mark.parametrize("receivers", [1, 3, 4, 12, 30, 200])
@pytest.mark.parametrize("least", [3, 5, 20])
def test_how_often_it_was_measured_does_not_tell_how_few_signals_there_were(receivers: int, least: int) -> None:
    """Everybody measures every signal, or hardly anybody does: a few look the same, and so do as many as are shown."""

    def line(measured: int) -> LagLine:
        members = (MemberLine("a", "A", "platform", "active", flagged=False),) * receivers
        lag: dict[tuple[int, str], Histogram] = {(Stage.DELIVERED, ""): histogram(7, count=measured)}
        made = figures_of(replace(counted(), members=members, lag=lag, lag_by_period=lag), least)
        assert made.lag == made.lag_trend
        return made.lag[0]

    few = {line(signals * receivers) for signals in range(1, least)} | {line(1)}
    assert len(few) == 1
    assert few.pop().p50_ms is None
    enough = max(least * receivers, 20)
    assert line(enough).p50_ms == 128


def test_a_period_that_has_not_passed_says_how_far_it_was_counted() -> None:
    assert "5 April 2027 to 6 June 2027, signals about" in page(payload(as_at_ms=1_812_326_400_000))
    assert "5 April 2027 to 6 June 2027, up to 2027-06-03 03:20 UTC" in page(payload(as_at_ms=1_811_992_800_000))
    assert '<p class="subtitle">6 June 2027, signals' in page(
        payload(first_day="2027-06-06", as_at_ms=1_812_326_400_000)
    )


def texts(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every text in a report: whoever signs it can write what they like into it."""
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from texts(each, (*place, key))
    elif isinstance(value, list):
        for at, each in enumerate(value[:2]):
            yield from texts(each, (*place, at))


PLACES = sorted(texts(plain()), key=str)
#: What members and operators fill in by themselves; all else has a form of its own, or is a word of this release.
FREE = {("figures", "members", 0, "name"), ("election", "title")}


def test_the_fields_that_are_filled_in_are_among_those_that_are_attacked() -> None:
    assert set(PLACES) >= FREE


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_whatever_stands_in_a_field_is_escaped_or_refused(place: tuple[Any, ...]) -> None:
    data = plain()
    at: Any = data
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = ATTACK
    try:
        said = of_plain(data)
    except msgspec.ValidationError:
        assert place not in FREE
        return
    if place in {("checkpoint",), ("directory_checkpoint",)}:
        return  # what is no checkpoint is found out before anything is shown: test_checking.py
    made = forms_of(said, pdf=False)
    for name, text in made.items():
        if name.endswith(".html"):
            assert b"<script" not in text
            assert not parsed(text.decode()).every("script")
        elif name.endswith(".svg"):
            assert not [each for each in ET.fromstring(text.decode()).iter() if "script" in each.tag]
    if place in FREE:
        assert "alert(1)" in page(said)
        assert "{{7*7}}" in page(said), "rendered twice"
        assert as_pdf(sheet_of(said), said).startswith(b"%PDF-")


def test_what_a_spreadsheet_could_run_is_inert() -> None:
    data = plain()
    data["figures"]["members"][1]["name"] = '=HYPERLINK("https://a.example";"Alpha")'
    assert ("members", "alpha", "name", '\'=HYPERLINK("https://a.example";"Alpha")') in cells(of_plain(data))


def test_a_name_in_other_letters_does_not_keep_the_pdf_from_being_made() -> None:
    data = plain()
    data["figures"]["members"][1]["name"] = "\u963f\u5c14\u6cd5"
    said = of_plain(data)
    assert "\u963f\u5c14\u6cd5" in page(said)
    assert as_pdf(sheet_of(said), said) != as_pdf(sheet_of(payload()), payload())


def test_the_page_runs_nothing_and_asks_nobody() -> None:
    text = page(payload())
    document = parsed(text)
    (policy,) = [each for each in document.every("meta") if each.get("http-equiv")]
    (style,) = document.every("style")
    allowed = b64encode(sha256(style.text.encode()).digest()).decode()
    wanted = f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    assert policy.get("content") == wanted
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), "nothing from elsewhere"
    assert "style=" not in text, "which that policy forbids"
    assert document.every("html")[0].get("lang") == "en"


def test_plots_have_a_title_a_description_and_a_table() -> None:
    document = parsed(page(payload()))
    plots = document.every("svg")
    assert len(plots) == 2
    ids = [each.get("id") for each in document.every() if each.get("id")]
    assert len(ids) == len(set(ids))
    for plot in plots:
        assert set(plot.get("aria-labelledby").split()) <= set(ids)
        assert plot.every("title")[0].words()
    captions = {each.words() for each in document.every("caption")}
    assert {"Signals published, over time", "Lag, over time"} <= captions


def test_a_bar_is_as_high_as_its_number_and_hollow_where_it_is_not_shown() -> None:
    drawn = ET.fromstring(as_svg(bars("x", "t", "d", [("a", 40), ("b", 20), ("c", None), ("d", 0)])))
    rects = [each.attrib for each in drawn.iter() if each.tag.endswith("rect")]
    assert len(rects) == 3
    assert float(rects[0]["height"]) == pytest.approx(2 * float(rects[1]["height"]), rel=0.01)
    assert rects[2]["fill"] == "#ffffff"
