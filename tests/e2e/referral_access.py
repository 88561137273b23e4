"""Who may call what about referrals, and what it sees: the table of docs/referrals.md, held against a real hub."""

from __future__ import annotations

from dataclasses import dataclass

from exchange.domain.kinds import Role

#: Between these the page holds the table.
BEGIN, END = "<!-- access: begin -->", "<!-- access: end -->"

COLUMNS = {
    "feed": "feed and ListEntries",
    "list": "ListReferrals",
    "get": "GetReferral",
    "refer": "refers",
    "ask": "asks",
    "answer": "answers",
    "note": "writes a note",
    "dispute": "ListNotes of a dispute",
    "contacts": "ListContacts",
    "activity": "GetActivity",
    "signal": "record of a signal",
}


@dataclass(frozen=True)
class Row:
    """One caller, and what becomes of each of its calls."""

    name: str
    member: str
    role: Role
    cells: str

    @property
    def expected(self) -> dict[str, str]:
        """What is seen in each column."""
        return dict(zip(COLUMNS, (WORDS[letter] for letter in self.cells.split()), strict=True))


#: R a record, L the leaf only, N nothing of it, Y yes, C counts of what each member said by kind, - refused.
WORDS = {"R": "record", "L": "leaf", "N": "nothing", "Y": "yes", "C": "counts", "-": "refused"}

#: Columns: feed, list, get, refer, ask, answer, note, dispute, contacts, activity, signal.
TABLE = (
    Row("the platform's liaison", "referrer", Role.LIAISON, "R R R Y - Y Y R Y C L"),
    Row("the platform's pipeline", "referrer", Role.PIPELINE, "L - - Y - Y - - Y C R"),
    Row("the authority", "constables", Role.AUTHORITY, "R R R - Y - Y N Y C L"),
    Row("another platform's liaison", "third", Role.LIAISON, "L N - Y - - - N Y C L"),
    Row("another platform's pipeline", "third", Role.PIPELINE, "L - - Y - - - - Y C R"),
    Row("a liaison with an opinion of the signal", "disputer", Role.LIAISON, "L N - Y - - - R Y C L"),
    Row("another authority", "commission", Role.AUTHORITY, "L N - - - - - N Y C L"),
    Row("an operator", "operator", Role.OPERATOR, "L - - - - - - N Y C L"),
    Row("a witness", "watcher", Role.WITNESS, "L - - - - - - - Y C L"),
    Row("the pseudonym service", "machines", Role.PSEUDONYMS, "L - - - - - - - Y C L"),
    Row("the hub's automation", "machines", Role.AUTOMATION, "L - - - - - - - Y C L"),
    Row("the authority, suspended", "paused", Role.AUTHORITY, "L - - - - - - - Y C L"),
    Row("a platform's liaison, suspended", "halted", Role.LIAISON, "L - - - - - - - Y C L"),
    Row("a liaison of another community", "elsewhere", Role.LIAISON, "- - - - - - - - - - -"),
    Row("an authority of another community", "outside", Role.AUTHORITY, "- - - - - - - - - - -"),
)


def rendered() -> str:
    """Return the table as it stands in the page."""
    head = ["caller", "role", *COLUMNS.values()]
    lines = [head, ["---"] * len(head)]
    lines += [[row.name, row.role.word, *row.expected.values()] for row in TABLE]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
