"""The plots of growth: for each axis, what should stay flat, and what should follow it."""

from __future__ import annotations

import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.figures import Figures
from tests.bench.plots import COLOURS, save, sheet

_GREY, _GREEN, _BLUE = COLOURS["grpc_ceiling"], COLOURS["hub"], COLOURS["nats_jetstream"]
#: Axis: what is along it, and the label of its curve.
AXES = {
    "packed": ("signals in the ledger", "statements of 1,000"),
    "singles": ("signals in the ledger", "statements of 1"),
    "subscribers": ("subscribers", ""),
    "communities": ("communities on the hub", ""),
}
_MB = 1e-6


def points(figures: Figures, axis: str, what: str) -> list[int]:
    """Return where along an axis something was measured."""
    found = [name.split(".") for name in figures.samples]
    return sorted({int(name[1]) for name in found if len(name) == 3 and (name[0], name[2]) == (axis, what)})


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Draw everything that was measured; return the files."""
    drawn = []
    pictures = {
        "growth-start": _ledger(figures, "start_s", "seconds from process start to serving", "Start"),
        "growth-disk": _ledger(figures, "bytes_per_signal", "bytes on disk per signal", "Disk"),
        "growth-memory": _ledger(figures, "rss_steady", "MB of the hub's own memory", "Memory", scale=_MB),
        "growth-throughput": _ledger(figures, "statements_per_s", "single statements acknowledged a second", "Publish"),
        "growth-proof": _ledger(figures, "proof_ms", "ms for an inclusion proof", "Proofs from anywhere"),
        "growth-latency": _latency(figures, ("packed", "singles"), "signals in the ledger"),
        "growth-subscribers-latency": _latency(figures, ("subscribers",), "subscribers"),
        "growth-subscribers-throughput": _one(
            figures, "subscribers", ("singles_delivered_per_s", "batched_delivered_per_s"), "signals delivered a second"
        ),
        "growth-subscribers-memory": _one(
            figures, "subscribers", ("rss_steady",), "MB of the hub's own memory", scale=_MB
        ),
        "growth-communities-latency": _latency(figures, ("communities",), "communities on the hub"),
        "growth-communities-start": _one(figures, "communities", ("start_s",), "seconds from process start to serving"),
        "growth-communities-memory": _one(
            figures, "communities", ("rss_idle", "rss_after"), "MB of the hub's own memory", scale=_MB
        ),
        "growth-communities-throughput": _one(
            figures, "communities", ("statements_per_s", "spread_per_s"), "statements acknowledged a second"
        ),
    }
    for name, picture in pictures.items():
        if picture is not None:
            drawn.append(save(picture, folder / f"{name}.svg"))
    return drawn


_LABELS = {
    "singles_delivered_per_s": "statements of 1",
    "batched_delivered_per_s": "statements of 1,000",
    "rss_idle": "after the start",
    "rss_after": "after all loads",
    "statements_per_s": "to one of them",
    "spread_per_s": "spread over all",
}


def _curve(axes: Axes, figures: Figures, axis: str, what: str, colour: str, label: str, scale: float = 1.0) -> bool:
    """Draw medians with their ranges; return whether there was something to draw."""
    at = points(figures, axis, what)
    if not at:
        return False
    samples = [[scale * value for value in figures.samples[f"{axis}.{point}.{what}"]] for point in at]
    middle = [statistics.median(each) for each in samples]
    below = [mid - min(each) for mid, each in zip(middle, samples, strict=True)]
    above = [max(each) - mid for mid, each in zip(middle, samples, strict=True)]
    axes.errorbar(at, middle, [below, above], color=colour, marker="o", capsize=2, linewidth=1.4, label=label or None)
    return True


def _finish(figure: Figure, axes: Axes, *, along: str, up: str, title: str, many: bool) -> Figure:
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(along)
    axes.set_ylabel(up)
    axes.set_title(title, loc="left")
    if many:
        axes.legend(frameon=False, fontsize=8)
    return figure


def _ledger(figures: Figures, what: str, up: str, title: str, *, scale: float = 1.0) -> Figure | None:
    figure, axes = sheet(5.5, 3.6)
    drawn = [
        _curve(axes, figures, axis, what, colour, AXES[axis][1], scale)
        for axis, colour in (("packed", _GREEN), ("singles", _BLUE))
    ]
    if not any(drawn):
        return None
    return _finish(figure, axes, along="signals in the ledger", up=up, title=title, many=True)


def _latency(figures: Figures, measured: tuple[str, ...], along: str) -> Figure | None:
    figure, axes = sheet(5.5, 3.6)
    drawn = False
    for axis, colour in zip(measured, (_GREEN, _BLUE), strict=False):
        label = AXES[axis][1]
        for what, shade in (("p99_ms", colour), ("p50_ms", _GREY if len(measured) == 1 else colour)):
            drawn |= _curve(axes, figures, axis, what, shade, f"{what[:3]} {label}".strip())
    if not drawn:
        return None
    return _finish(figure, axes, along=along, up="ms from due to delivered", title="200 signals a second", many=True)


def _one(figures: Figures, axis: str, what: tuple[str, ...], up: str, *, scale: float = 1.0) -> Figure | None:
    figure, axes = sheet(5.5, 3.6)
    drawn = [
        _curve(axes, figures, axis, each, colour, _LABELS.get(each, "") if len(what) > 1 else "", scale)
        for each, colour in zip(what, (_GREEN, _BLUE), strict=False)
    ]
    if not any(drawn):
        return None
    return _finish(figure, axes, along=AXES[axis][0], up=up, title=f"By {axis}", many=len(what) > 1)
