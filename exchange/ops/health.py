"""What is serving and what is not, as plain data; the ops port turns it into answers.

Two questions, which must not be confused: *alive* (the process and its loop run: else restart it) and *ready* (every
component serves: else send nothing here). A hub that recovers is alive and not ready; restarting it would only start
the recovery again. Everything begins not serving, so nothing is ready before somebody has said so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OK = 200
SERVICE_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Component:
    """One component of the process: does it serve, and if not, why (words for an operator, no identifiers)."""

    name: str
    serving: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and what to send as JSON."""

    status: int
    body: Mapping[str, object]


class Health:
    """The state of a fixed set of components. Used from one event loop.

    A component may have parts, such as one for each log: it serves when none of them has a reason not to.
    """

    def __init__(self, names: Iterable[str]) -> None:
        #: Of each component why it does not serve, by the part that does not; "" is the component as a whole.
        self._reasons: dict[str, dict[str, str]] = {name: {"": "starting"} for name in names}
        self._draining = ""

    def serving(self, name: str, part: str = "") -> None:
        """Note that this part of a component serves. What was said of its other parts stays."""
        self._of(name).pop(part, None)

    def not_serving(self, name: str, reason: str, part: str = "") -> None:
        """Note that this part of a component does not serve, and why."""
        if not reason:
            raise ValueError(f"{name}: not serving needs a reason")
        self._of(name)[part] = reason

    def drain(self, reason: str = "shutting down") -> None:
        """Stop being ready, for good, whatever the components say."""
        self._draining = reason

    @property
    def ready(self) -> bool:
        """Whether every component serves and nothing is being drained."""
        return not self._draining and not any(self._reasons.values())

    def components(self) -> tuple[Component, ...]:
        """Return every component, in the order in which they were named."""
        return tuple(Component(name, not why, "; ".join(why.values())) for name, why in self._reasons.items())

    def livez(self) -> Answer:
        """Answer "restart me?": never, as long as there is somebody to answer."""
        return Answer(OK, {"status": "alive"})

    def readyz(self) -> Answer:
        """Answer "send me work?", with the reason of each component that says no."""
        waiting = {item.name: item.reason for item in self.components() if not item.serving}
        if self._draining:
            return Answer(SERVICE_UNAVAILABLE, {"status": "draining", "reason": self._draining, "waiting": waiting})
        if waiting:
            return Answer(SERVICE_UNAVAILABLE, {"status": "not ready", "waiting": waiting})
        return Answer(OK, {"status": "ready"})

    def _of(self, name: str) -> dict[str, str]:
        if name not in self._reasons:
            raise ValueError(f"{name} is no component; known: {', '.join(self._reasons)}")
        return self._reasons[name]
