"""The normal form of a handle: the name by which a user is known on a platform.

Profile 1 is PRECIS UsernameCaseMapped (RFC 8265, by precis-i18n: width mapped, lower case, NFC, the bidi rule;
spaces, symbols, controls and code points that this Unicode does not know are refused), and then:

1. White space around it and one ``@`` before it are dropped.
2. Letters of more than one script are refused, but for what one language mixes (Han with kana, Hangul or Bopomofo,
   and Latin beside those): UTS 39, "highly restrictive". A brand's name in two alphabets is an imitation, not a name.

A handle in one script alone that looks like another (all Cyrillic, all look-alikes) is a name, and kept:
`looks_like_latin` says so, for people to note. It never changes the form.

What must stay true: the function is idempotent; any text gives a handle or `Rejected`; no message repeats the handle.
The version of Unicode, which decides what is known, belongs to the key epoch.
"""

from __future__ import annotations

import unicodedata

from precis_i18n import get_profile

from exchange.errors import Reason, Rejected

MAX_HANDLE_CHARACTERS = 256

_PRECIS = get_profile("UsernameCaseMapped")
_TOGETHER = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
)
#: Letters of the marks and of no script: they stand beside any.
_COMMON = frozenset({"COMBINING", "MODIFIER", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"})
#: Small letters of other scripts that look like one of the Latin alphabet (of UTS 39's table, those in common use).
_LATIN_TWINS = frozenset(
    "\u0430\u0432\u0435\u0451\u0456\u0458\u043a\u043c\u043d\u043e\u0440\u0441\u0455\u0442\u0443\u0445\u04bb\u0501\u051b\u051d"
    "\u03b1\u03b2\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03f2"
)


def normal_handle(text: str) -> str:
    """Return the normal form (profile 1). Raises `Rejected`: not a handle, or letters of several scripts."""
    if len(text) > MAX_HANDLE_CHARACTERS:
        raise Rejected(Reason.TOO_LARGE, f"a handle may have {MAX_HANDLE_CHARACTERS} characters")
    try:
        handle = str(_PRECIS.enforce(text.strip().removeprefix("@")))
    except UnicodeError:
        # Not chained: the error holds the handle.
        raise Rejected(
            Reason.INVALID,
            "this is not a handle",
            hint="one word of letters and digits, with or without an @ before it",
        ) from None
    scripts = _scripts(handle)
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        raise Rejected(Reason.INVALID, "a handle must not mix letters of several scripts")
    return handle


def looks_like_latin(handle: str) -> bool:
    """Whether each letter of a handle in normal form is another script's twin of a Latin one: for people to note."""
    letters = [character for character in handle if character.isalpha()]
    return bool(letters) and all(letter in _LATIN_TWINS for letter in letters)


def _scripts(handle: str) -> set[str]:
    """Return the scripts of the letters, as the first words of their names in the Unicode database."""
    found = {
        unicodedata.name(character, "").split(" ")[0]
        for character in handle
        if unicodedata.category(character)[0] == "L"
    }
    return found - _COMMON
