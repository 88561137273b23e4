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
    """One part of the process: does it serve, and if not, why (words for an operator, no identifiers)."""

    name: str
    serving: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and what to send as JSON."""

    status: int
    body: Mapping[str, object]


class Health:
    """The state of a fixed set of components. Used from one event loop."""

    def __init__(self, names: Iterable[str]) -> None:
        self._components = {name: Component(name, serving=False, reason="starting") for name in names}
        self._draining = ""

    def serving(self, name: str) -> None:
        """Note that a component serves."""
        self._put(Component(name, serving=True, reason=""))

    def not_serving(self, name: str, reason: str) -> None:
        """Note that a component does not serve, and why."""
        if not reason:
            raise ValueError(f"{name}: not serving needs a reason")
        self._put(Component(name, serving=False, reason=reason))

    def drain(self, reason: str = "shutting down") -> None:
        """Stop being ready, for good, whatever the components say."""
        self._draining = reason

    @property
    def ready(self) -> bool:
        """Whether every component serves and nothing is being drained."""
        return not self._draining and all(component.serving for component in self._components.values())

    def components(self) -> tuple[Component, ...]:
        """Return every component, in the order in which they were named."""
        return tuple(self._components.values())

    def livez(self) -> Answer:
        """Answer "restart me?": never, as long as there is somebody to answer."""
        return Answer(OK, {"status": "alive"})

    def readyz(self) -> Answer:
        """Answer "send me work?", with the reason of each component that says no."""
        waiting = {item.name: item.reason for item in self._components.values() if not item.serving}
        if self._draining:
            return Answer(SERVICE_UNAVAILABLE, {"status": "draining", "reason": self._draining, "waiting": waiting})
        if waiting:
            return Answer(SERVICE_UNAVAILABLE, {"status": "not ready", "waiting": waiting})
        return Answer(OK, {"status": "ready"})

    def _put(self, component: Component) -> None:
        if component.name not in self._components:
            raise ValueError(f"{component.name} is no component; known: {', '.join(self._components)}")
        self._components[component.name] = component
