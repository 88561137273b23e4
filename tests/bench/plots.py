"""The plots of docs/plots, drawn from a run's figures. One idea a picture, the same colours throughout."""

from __future__ import annotations

import statistics
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update(
    {"svg.hashsalt": "signal-exchange", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
)

from matplotlib import pyplot as plt  # noqa: E402 - the drawing backend is chosen first
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from tests.bench.figures import Figures, number  # noqa: E402

COLOURS = {
    "hub": "#0b6e4f",
    "redis_hub": "#58b368",
    "redis_hubs2": "#a7d7a9",
    "redis_always": "#c0392b",
    "redis_always_x100": "#e59a8f",
    "grpc_ceiling": "#8d99ae",
    "nats_jetstream": "#2d6cdf",
}
NAMES = {
    "hub": "this hub, everything on",
    "redis_hub": "the same with its logs in Redis",
    "redis_hubs2": "two hubs on one Redis",
    "redis_always": "Redis Streams, fsync always",
    "redis_always_x100": "the same, 100 signals an entry",
    "grpc_ceiling": "bare grpcio with mTLS",
    "nats_jetstream": "NATS JetStream, fsync every 2 min",
}


def sheet(width: float = 8.0, height: float = 4.2) -> tuple[Figure, Axes]:
    """Return an empty picture with one pair of axes."""
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.grid(visible=True, axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def save(figure: Figure, path: Path) -> Path:
    """Write a picture; the same figures make the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Draw everything that was measured; return the files."""
    streams = sorted({int(name.split(".")[1][1:]) for name in figures.samples if name.startswith("fanout.")})
    batches = sorted({int(name.split(".")[2][1:]) for name in figures.samples if name.startswith("fanout.")})
    drawn = [save(_fan_out(figures, streams, batch), folder / f"fanout-b{batch}.svg") for batch in batches]
    drawn.append(save(_publish(figures, batches), folder / "publish.svg"))
    drawn += [
        save(_over_time(figures, name), folder / f"latency-n{name.split('.')[1][1:]}.svg")
        for name in sorted(figures.series)
        if name.endswith(".p99_by_10s")
    ]
    drawn += [
        save(_memory(figures, name), folder / f"memory-n{name.split('.')[1][1:]}.svg")
        for name in sorted(figures.series)
        if name.endswith(".rss")
    ]
    return drawn


def _bars(axes: Axes, figures: Figures, at: float, name: str, colour: str, width: float) -> bool:
    """Draw one bar with its range; return whether there was something to draw."""
    found = figures.samples.get(name)
    if not found:
        return False
    middle = statistics.median(found)
    axes.bar(at, middle, width, color=colour)
    axes.errorbar(at, middle, [[middle - min(found)], [max(found) - middle]], color="#333", capsize=2, linewidth=1)
    axes.annotate(
        number(middle),
        (at, max(found)),
        ha="center",
        va="bottom",
        fontsize=7,
        rotation=90,
        xytext=(0, 3),
        textcoords="offset points",
    )
    return True


def _fan_out(figures: Figures, streams: list[int], batch: int) -> Figure:
    figure, axes = sheet()
    present = [
        who for who in NAMES if any(f"fanout.n{n}.b{batch}.{who}.deliveries_per_s" in figures.samples for n in streams)
    ]
    width = 0.8 / len(present)
    for group, count in enumerate(streams):
        for place, who in enumerate(present):
            at = group + (place - (len(present) - 1) / 2) * width
            _bars(axes, figures, at, f"fanout.n{count}.b{batch}.{who}.deliveries_per_s", COLOURS[who], width * 0.92)
    axes.set_xticks(range(len(streams)), [f"{count} subscriber{'s' * (count > 1)}" for count in streams])
    axes.set_yscale("log")
    axes.margins(y=0.18)
    axes.set_ylabel("signals delivered a second, all subscribers")
    axes.set_title(f"Fan-out, statements of {batch} signal{'s' * (batch > 1)}", loc="left")
    for who in present:
        axes.bar(0, 0, color=COLOURS[who], label=NAMES[who])
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")
    return figure


def _publish(figures: Figures, batches: list[int]) -> Figure:
    figure, axes = sheet(5.5)
    for place, batch in enumerate(batches):
        _bars(axes, figures, place, f"publish.b{batch}.records_per_s", COLOURS["hub"], 0.5)
    axes.set_xticks(range(len(batches)), [f"statements of {batch}" for batch in batches])
    axes.set_yscale("log")
    axes.margins(y=0.2)
    axes.set_ylabel("signals acknowledged a second")
    axes.set_title("Publishing, nobody listening", loc="left")
    return figure


def _over_time(figures: Figures, name: str) -> Figure:
    points = figures.series[name]
    figure, axes = sheet(5.5)
    seconds = [point[0] for point in points]
    axes.plot(seconds, [point[2] for point in points], marker="o", color=COLOURS["hub"], label="p99")
    axes.plot(seconds, [point[1] for point in points], marker="o", color=COLOURS["grpc_ceiling"], label="p50")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds of load")
    axes.set_ylabel("ms from due to delivered")
    axes.set_title(f"1,000 single signals a second to {name.split('.')[1][1:]} subscribers", loc="left")
    axes.legend(frameon=False)
    return figure


def _memory(figures: Figures, name: str) -> Figure:
    points = figures.series[name]
    figure, axes = sheet(5.5)
    axes.plot([point[0] for point in points], [point[1] / 1e6 for point in points], color=COLOURS["hub"])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds of load")
    axes.set_ylabel("MB of the hub's own memory")
    axes.set_title(f"Memory at 1,000 a second to {name.split('.')[1][1:]} subscribers", loc="left")
    return figure
