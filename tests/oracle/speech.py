"""What platforms say: good signals with what the model knows of them, and signals to speak about."""

from __future__ import annotations

from typing import Any

from exchange.domain.statement import signal_ids
from tests.e2e.drafts import Draft, record, restricted, signal
from tests.oracle.driver import Driver
from tests.oracle.founding import PLATFORMS, UK
from tests.oracle.model import DAY_MS, HOUR_MS, MINUTE_MS, Signal, Statement

LABELS = (402, 503, 504)


def some_targets(driver: Driver, kind: str, member: str) -> tuple[bytes, ...]:
    """Return ids of signals, mostly of those that a member may say this of; now and then a wrong one."""
    rng, model = driver.rng, driver.model
    ids = list(model.by_id)[-60:]
    if rng.random() < 0.85:
        ids = [id_ for id_ in ids if model.may_say_of(kind, member, id_)] or ids
    found = rng.sample(ids, min(len(ids), rng.choice((1, 1, 1, 2, 3))))
    if rng.random() < 0.04:
        found.append(rng.choice((rng.randbytes(32), *found)))
    return tuple(found) or (rng.randbytes(32),)


def a_signal(driver: Driver, member: str, *, replaces: tuple[bytes, ...] = ()) -> tuple[Draft, Statement, int]:
    """Return a good signal statement, what the model knows of it, and when it was made."""
    rng, now_ms = driver.rng, driver.clock.now_ms
    values = [rng.choice(driver.values) for _ in range(1 if replaces else rng.randint(1, 5))]
    records = [record(data, kind, salt=rng.randbytes(16)) for kind, data in values]
    late = rng.random() < 0.08
    created_ms = now_ms - (rng.randint(6 * MINUTE_MS, 5 * DAY_MS) if late else rng.randint(0, 4 * MINUTE_MS))
    backfill = rng.random() < 0.1
    audience = frozenset(rng.sample(PLATFORMS, rng.randint(1, 3))) if rng.random() < 0.4 else None
    life_ms = rng.choice((MINUTE_MS, HOUR_MS, DAY_MS, 30 * DAY_MS))
    said = Statement(
        "signal",
        member,
        now_ms,
        label=rng.choice(LABELS),
        expires_ms=now_ms + life_ms,
        actioned_ms=created_ms - rng.randint(0, HOUR_MS) if rng.random() < 0.5 else 0,
        in_lag=not (late or backfill),
        audience=audience,
        replaces=replaces,
    )
    changes: dict[str, Any] = {
        "records": records,
        "created_at_ms": created_ms,
        "nonce": rng.randbytes(16),
        "resubmission": late,
        "label": said.label,
        "expires_at_ms": said.expires_ms,
        "actioned_at_ms": said.actioned_ms,
        "backfill": backfill,
        "replaces": replaces,
        "indicator_types": tuple(sorted({kind for kind, _ in values})),
    }
    draft = signal(member, UK, **changes) if audience is None else restricted(member, UK, sorted(audience), **changes)
    for id_, value in zip(signal_ids(UK, member, records), values, strict=True):
        said.signals.append(Signal(id_, value, said))
    return draft, said, created_ms
