"""A built site, read again with the standard library's own parser: what a browser would be given."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass
class Element:
    """One element, with what is in it."""

    tag: str
    attributes: dict[str, str | None]
    parent: Element | None
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def get(self, name: str) -> str:
        return self.attributes.get(name) or ""

    def every(self, tag: str = "") -> list[Element]:
        """Return the elements below, in order."""
        found: list[Element] = []
        for child in self.children:
            found += [child] if tag in ("", child.tag) else []
            found += child.every(tag)
        return found

    def words(self) -> str:
        """Return all the text below, as one line."""
        return " ".join(self.text.split())

    def language(self) -> str:
        """Return the language that it is in."""
        return self.get("lang") or (self.parent.language() if self.parent else "")

    def has_class(self, name: str) -> bool:
        return name in self.get("class").split()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {}, None)
        self.open = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        made = Element(tag, dict(attrs), self.open)
        self.open.children.append(made)
        if tag not in VOID:
            self.open = made

    def handle_endtag(self, tag: str) -> None:
        assert self.open.tag == tag, f"</{tag}> ends a <{self.open.tag}>"
        assert self.open.parent is not None
        self.open = self.open.parent

    def handle_data(self, data: str) -> None:
        at: Element | None = self.open
        while at is not None:
            at.text += data
            at = at.parent


def parsed(text: str) -> Element:
    """Return the document; every element must be closed where it was opened."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open is reader.root, f"<{reader.open.tag}> is never closed"
    return reader.root
