"""A table on the terminal, the same in JSON, and a plot that shows the comparison at a glance."""

import argparse
import importlib
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arena import machine

OURS, FLOOR, PEER = "#0b6e4f", "#9aa5b1", "#d9822b"

STARTED_ON = machine()
"""Taken now: later its load would be our own."""

Column = tuple[str, Callable[[Mapping[str, Any]], str]]
"""A heading, and what stands below it for a row."""


def parser_of(doc: str | None, *, names: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Options that every command has: --json and --plot, and --only if there are contenders to choose from."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--plot", type=Path, help="draw the table's main column into this file (needs matplotlib)")
    if names:
        parser.add_argument("--only", nargs="+", choices=names, default=list(names), help="contenders to run")
    return parser


def shown(key: str, form: str, *, scale: float = 1.0, unit: str = "") -> Callable[[Mapping[str, Any]], str]:
    """A cell: a figure by its key, `–` where there is none."""

    def cell(row: Mapping[str, Any]) -> str:
        value = row.get(key)
        return "–" if value is None else f"{value if scale == 1.0 else value * scale:{form}}{unit}"

    return cell


def table(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> str:
    """Aligned text: the first column to the left, the others to the right; `skipped` rows say why."""
    rows = list(rows)
    lines = [[heading for heading, _ in columns]]
    lines += [[cell(row) for _, cell in columns] for row in rows if "skipped" not in row]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    text = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    text.insert(1, "-" * len(text[0]))
    text += [f"{row['label'].ljust(widths[0])}  skipped: {row['skipped']}" for row in rows if "skipped" in row]
    return "\n".join(text)


def median_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The medians of all figures of several runs; what is no number is the last run's."""
    merged = dict(runs[-1])
    for key, value in merged.items():
        values = [run[key] for run in runs if isinstance(run.get(key), int | float)]
        merged[key] = statistics.median(values) if values else value
    return merged


def save(path: Path | None, **told: Any) -> None:
    """Write what was measured, and on what."""
    if path is not None:
        path.write_text(json.dumps({"machine": STARTED_ON, **told}, indent=1), encoding="utf-8")


def bars(
    path: Path | None,
    rows: Iterable[Mapping[str, Any]],
    *,
    key: str,
    title: str,
    form: str = ",.0f",
    scale: float = 1.0,
    log: bool = True,
) -> None:
    """A horizontal bar for each row, ours highlighted, the figure at each.

    Args:
        path: Where to; None draws nothing.
        rows: With `client`, `label` and the figure.
        key: Which figure.
        title: What it says, with the unit.
        form: How a figure is written.
        scale: What a figure is multiplied with.
        log: Whether the axis is logarithmic.
    """
    if path is None:
        return
    drawn = [row for row in rows if row.get(key) is not None][::-1]
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(9, 1.3 + 0.42 * len(drawn)), layout="constrained")
    values = [row[key] * scale for row in drawn]
    made = axes.barh([row["label"] for row in drawn], values, color=[_colour(row["client"]) for row in drawn])
    axes.bar_label(made, labels=[f"{value:{form}}" for value in values], padding=4)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.set_xlim(min(filter(None, values), default=1) / 2, max(values, default=1) * 3)
    else:
        axes.set_xlim(0, max(values) * 1.15)
    for tick, row in zip(axes.get_yticklabels(), drawn, strict=True):
        tick.set_fontweight("bold" if row["client"].startswith("ours") else "normal")
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    figure.savefig(path, dpi=130)


def _colour(client: str) -> str:
    name = client.partition("+")[0]
    if name.startswith("ours"):
        return OURS
    return FLOOR if name in ("protocol", "bare", "attrs", "lean", "coroutines") else PEER
