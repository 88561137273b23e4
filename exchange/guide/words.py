"""The guide's own words in its languages, from gettext catalogues in this repository.

English is what the templates and modules say; every other language has a catalogue in `exchange/guide/locale`. They are
read as they are (.po), so nothing has to be compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from babel import Locale
from babel.dates import format_date
from babel.messages.pofile import read_po

LOCALES = Path(__file__).parent / "locale"
#: Languages of the guide, the first one that of its own words.
LANGUAGES = ("en", "cy")
#: Languages whose words no speaker has checked.
DRAFTS = frozenset({"cy"})


@dataclass(frozen=True)
class Words:
    """The guide's own words in one language."""

    language: str
    known: dict[str, str]

    def __call__(self, text: str, **values: object) -> str:
        """Return a text in this language, with its values put in; in English where it has no translation."""
        found = self.known.get(text) or text
        return found.format(**values) if values else found

    @property
    def name(self) -> str:
        """The language's own name for itself."""
        return str(Locale(self.language).get_display_name(self.language)).capitalize()

    @property
    def draft(self) -> bool:
        """Whether no speaker has checked them."""
        return self.language in DRAFTS

    def day(self, day: date) -> str:
        """Return a date as it is written."""
        return format_date(day, "d MMMM y", locale=self.language)


@cache
def words_of(language: str) -> Words:
    """Return the words of a language."""
    if language == LANGUAGES[0]:
        return Words(language, {})
    with (LOCALES / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    return Words(language, {str(each.id): str(each.string) for each in catalogue if each.id and each.string})
