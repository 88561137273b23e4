"""The canonical form of a web address, and the digest that is exchanged in its place.

Why: two members who saw the same address must arrive at the same 32 bytes, in any programming language.
So the rules are few, and pinned: a change of any of them, or of the canonicaliser's major version, is a new
profile number, never an edit of this one.

Profile 1 is the WHATWG URL parser (https://url.spec.whatwg.org, as built by ada-url 4: lower case and IDNA
for the host, IP addresses in their one form, default ports gone, dot segments resolved, backslashes turned,
tabs, line ends and outer spaces dropped), and then these rules of ours:

1. Only ``http`` and ``https``, with a host.
2. A user name or a password in it: refused. Dropping it would make the canonical form of a private link.
3. The fragment is dropped: it never reaches the server.
4. One dot at the end of the host is dropped (the same host in the DNS); a host with an empty label is refused.
5. In the path and the query, escapes take one form (RFC 3986, section 6.2.2): a letter, digit, ``-``, ``.``,
   ``_`` or ``~`` is written plainly, other escapes in upper case, and a percent sign that starts no escape as
   ``%25``.
6. A query is otherwise kept as it is, in its order, tracking parameters and all: what it means is each site's
   own business. An empty one is dropped with its question mark.

Scheme and ``www.`` are kept: they can lead to other pages.

What must stay true: the function is idempotent, and any text gives an address or `Rejected`. The vectors are
in ``tests/vectors/url_profile1.json``.
"""

from __future__ import annotations

import hashlib
import re

from ada_url import URL

from exchange.errors import Reason, Rejected

PROFILE_VERSION = 1
"""The number of these rules, carried by every `url` indicator."""

CANONICALISER = "ada-url 4"
"""The canonicaliser and its major version, pinned by the vectors."""

MAX_URL_CHARACTERS = 8192
"""The longest text that is looked at; also the longest canonical form."""

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def canonical_url(text: str) -> str:
    """The canonical form (profile 1) of an absolute ``http`` or ``https`` address: ASCII, at most 8192 characters.

    Raises:
        Rejected: not such an address, no host, too long, or one that carries a user name or a password.
    """
    url = _parsed(text)
    if url.protocol not in ("http:", "https:"):
        raise Rejected(Reason.INVALID, "a url must start with http:// or https://")
    if url.username or url.password:
        raise Rejected(
            Reason.INVALID,
            "a url must not carry a user name or a password",
            hint="remove what stands before the @, if the address still leads to the same page",
        )
    query = url.search.removeprefix("?")
    canonical = f"{url.protocol}//{_host(url)}{_plain_escapes(url.pathname)}"
    if query:
        canonical = f"{canonical}?{_plain_escapes(query)}"
    if len(canonical) > MAX_URL_CHARACTERS:
        raise Rejected(Reason.TOO_LARGE, f"a url may have {MAX_URL_CHARACTERS} characters in its canonical form")
    return canonical


def url_digest(text: str) -> bytes:
    """SHA-256 (32 bytes) of the canonical form in UTF-8: the value of a `url` indicator. Errors: `canonical_url`."""
    return hashlib.sha256(canonical_url(text).encode()).digest()


def _parsed(text: str) -> URL:
    """The text as the WHATWG parser reads it."""
    if len(text) > MAX_URL_CHARACTERS:
        raise Rejected(Reason.TOO_LARGE, f"a url may have {MAX_URL_CHARACTERS} characters")
    try:
        return URL(text)
    except ValueError as error:  # also raised for lone surrogates, which have no UTF-8 form
        raise Rejected(
            Reason.INVALID, "this is not an absolute url", hint="such as https://example.org/page"
        ) from error


def _host(url: URL) -> str:
    """Host and, where it is not the default, port; without a dot at the end."""
    name = url.hostname.removesuffix(".")
    if not all(name.split(".")):
        raise Rejected(Reason.INVALID, "a url must have a host without empty labels")
    return f"{name}:{url.port}" if url.port else name


def _plain_escapes(part: str) -> str:
    """Rule 5. One pass is enough: afterwards every percent sign starts an escape that is in its one form."""
    return _ESCAPE.sub(_plain_escape, part)


def _plain_escape(match: re.Match[str]) -> str:
    digits = match[1]
    if digits is None:
        return "%25"
    character = chr(int(digits, 16))
    return character if character in _UNRESERVED else f"%{digits.upper()}"
