"""The page docs/privacy.md, made from the figures of one full run (docs/privacy.json)."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from typing import Any

from exchange.domain.statement import SALT_BYTES
from exchange.pseudonyms.budget import HELD_DAYS, ROUNDED_TO
from exchange.pseudonyms.epochs import LIFE_DAYS, OVERLAP_DAYS
from tests.bench.figures import number

_UNITS = ((365 * 86_400, "years"), (86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))

_INTRO = """\
# Who can reverse an account identifier

<!-- Written by `make bench-privacy` from the figures in privacy.json. -->

A telephone number, an address or a handle can be guessed: there are few enough to try them all. What each party can find
out depends on how identifiers are shared. **Plain hash** is SHA-256 of the [normal form](accounts.md); **one key** is
HMAC-SHA-256 with a key that all members have; **pseudonyms** are what is built here. "All" means every UK mobile number,
{phones:,} in the numbering plan, against everything that was ever shared at once; times are for one core ({processor}).

| who | plain hash | one key | pseudonyms |
| --- | --- | --- | --- |
| outsider with the ledger | nothing [1] | nothing [1] | nothing [1] |
| outsider with a leaked store | all in {plain} | nothing, until one member's key leaks: then all in {keyed} | nothing: no candidate can be tested [2] |
| {small} | all in {plain} | all in {keyed} | {small_share} [3] |
| {large} | all in {plain} | all in {keyed} | {large_share} [3] |
| hub's operator | all in {plain} | nothing alone; all in {keyed} with any one member | nothing alone [2, 4], with a member as that member; sees which signals name the same account [5] |
| pseudonym service's operator | there is none | there is none | nothing alone: sees random points [6]; who asks, when, for how many |
| the service's key, stolen or not, with any store: the hub's, a member's, a leaked one | there is none | there is none | all in {offline}, with better code {product} at the least: no budget holds [7] |

What each statement rests on, beside the rates below:

1. A leaf has the hash of a record that begins with {salt} random bytes (`SALT_BYTES`, `exchange/domain/statement.py`): without
   the record there is nothing to hold a guess against.
2. A pseudonym needs the epoch's key, or an answer made with it (`exchange/privacy/voprf.py`).
3. The declared users once an epoch, then an increment a day, at most {held} of them saved up
   (`exchange/pseudonyms/budget.py`): what a member got that took all it could on every day of an epoch of {life} days.
4. Only pipelines of members in force, in a community that the service serves, have anything evaluated (`may_evaluate`,
   `exchange/domain/policy.py`).
5. Within a key epoch an account has one pseudonym, whoever shares it, in every community that the service serves. That is
   what makes it match.
6. A new random blind for each identifier (`blind`, `exchange/privacy/voprf.py`).
7. The key makes pseudonyms directly: nothing to blind, nothing to prove, nobody to ask. So service and hub, and service and
   members, should be run by different people."""

_REVERSAL = """\
## A reversal, carried out

{shared} random UK mobile numbers of a range of {range:,}, shared in each way, and attacked with the code of this repository.
The member asks through the SDK and the service's own calls, with {budget:,} evaluations left. Seconds are the processor's,
and for who asks the clock's."""

_COST = """\
## What a candidate costs

Candidates a second on one core, making them included, and the time for all of them. Names are made up, as many as stated.
Pseudonyms are made here with a stolen key."""

_BEHIND_COST = """\
A member with a budget pays {member} core-seconds for a million candidates, and the service {service}: a large member's whole budget
keeps one core of the service busy for {large_time}. At the pace of its budget the large member needs {large_epochs} epochs for all UK mobile
numbers, the small one {small_epochs}. With the key, a million candidates take {offline} core-seconds in this code, and hardly less than
{product} in any that uses OpenSSL as here: its multiplication alone does {products} a second. All rates are one general-purpose core's,
the plain and keyed ones in Python: hardware made for hashing is faster by orders of magnitude. They multiply with cores; budgets do not."""

_NOT = """\
## What it does not protect against

- **A large member within its budget.** {large_share_short} of all numbers is a dictionary, and one that costs the member the index of its
  own accounts. In the next epoch it can try others. What a member may use stands in the
  [service's file](pseudonym-configuration.md), what it has used on the ledger: look at both.
- **One targeted number.** Any member can test a few guesses at any time: each costs one evaluation.
- **Members that pool.** Budgets add up, and a table of numbers and pseudonyms can be handed on.
- **Members that share an account.** Who has the account that a signal names learns that the publisher has it, too. That is
  the purpose.
- **A member that is made up.** As many operators as the directory demands can admit one, and the service gives it a budget.
  The ledger shows both.
- **A stolen key.** Whoever has an epoch's key reverses all of its pseudonyms that they ever get, at the rate above, unseen.
- **The time before a key was destroyed.** After that nobody can make or check its pseudonyms, but a table made before, an
  index of accounts or a copy of the key stays what it was.
- **A stolen index of accounts.** The file with which a platform matches holds pseudonyms beside the platform's own
  references, and digests whose key is in a file beside it. Who takes both reverses each row by itself, at {index}
  candidates a second, so one UK mobile number in {index_time} at most, and no budget holds a thief. Keep them as the
  accounts are kept, and the key out of backups: without it, a copy of the index can be held against nothing.
- **Traffic.** The service sees who asks for how many and when; the ledger tells all members daily totals, rounded up to
  {rounded:,}. Who asks for one just before publishing one tells that both belong together.
- **The hub's view.** It sees which signals of an epoch name one account, whoever published them, but not which account.
  In the {overlap} days in which two epochs overlap a signal carries both pseudonyms, and so links the epochs."""


def page(found: dict[str, Any]) -> str:
    """Return the page. ``found`` is what is in privacy.json."""
    rates = {name: statistics.median(samples) for name, samples in found["rates"].items()}
    sizes = {name: space["size"] for name, space in found["spaces"].items()}
    phones, members = sizes["phone"], found["members"]
    share = {who: terms["evaluations"] / phones for who, terms in members.items()}
    told = {
        "phones": phones,
        "processor": found["machine"]["processor"],
        **{way: lasting(phones / rates[f"phone.{way}"]) for way in ("plain", "keyed")},
        **{who: _member(who, terms) for who, terms in members.items()},
        **{f"{who}_share": _share(terms["evaluations"], share[who]) for who, terms in members.items()},
    }
    offline = rates["phone.offline"]
    return (
        "\n\n".join(
            [
                _INTRO.format(
                    **told,
                    offline=lasting(phones / offline),
                    product=lasting(phones / rates["product"]),
                    salt=SALT_BYTES,
                    held=HELD_DAYS,
                    life=LIFE_DAYS,
                ),
                _REVERSAL.format(**found["reversal"]),
                _table(("who", "shared as", "tried", "found", "seconds"), map(_attack, found["reversal"]["attacks"])),
                _COST,
                _table(
                    ("candidates", "how many", "plain hash", "one key", "pseudonyms"),
                    [_space(name, space, rates) for name, space in found["spaces"].items()],
                ),
                _filled(
                    _BEHIND_COST,
                    **{who: number(1e6 / rates[who]) for who in ("member", "service", "product")},
                    offline=number(1e6 / offline),
                    products=number(rates["product"]),
                    large_time=lasting(members["large"]["evaluations"] / rates["service"]),
                    **{f"{who}_epochs": number(1 / part) for who, part in share.items()},
                ),
                _NOT.format(
                    large_share_short=f"{100 * share['large']:.2g} %",
                    index=number(rates["index"]),
                    index_time=lasting(phones / rates["index"]),
                    rounded=ROUNDED_TO,
                    overlap=OVERLAP_DAYS,
                ),
            ]
        )
        + "\n"
    )


def lasting(seconds: float) -> str:
    """Return how long something takes, in the unit in which one says so."""
    length, unit = next((each for each in _UNITS if seconds >= 2 * each[0]), _UNITS[-1])
    return f"{number(seconds / length)} {unit}"


def _member(who: str, terms: dict[str, int]) -> str:
    return f"{who} member: {terms['users']:,} declared users, {terms['daily']:,} more a day"


def _share(evaluations: int, part: float) -> str:
    return f"{evaluations:,} candidates an epoch: {100 * part:.2g} % of all"


def _attack(attack: dict[str, Any]) -> Sequence[str]:
    return attack["who"], attack["way"], f"{attack['tried']:,}", f"{attack['found']}", number(attack["seconds"])


def _space(name: str, space: dict[str, Any], rates: dict[str, float]) -> Sequence[str]:
    ways = (rates[f"{name}.{way}"] for way in ("plain", "keyed", "offline"))
    return space["said"], f"{space['size']:,}", *(f"{number(rate)}: {lasting(space['size'] / rate)}" for rate in ways)


def _filled(text: str, **values: str) -> str:
    said = " ".join(text.format(**values).split())
    return textwrap.fill(said, 120, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Any) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
