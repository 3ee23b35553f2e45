"""Plots as SVG, drawn from the data: no script, no font, no colour of their own. Empty texts where nothing is known."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import attrs

from ..wording import counted

WIDTH, HEIGHT = 400, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 30
BREAK = 600.0
"""Seconds without any task on its way that are cut out of the time axis."""
MODELS = 8
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800)
TICKS = 5


@attrs.frozen
class Span:
    """One task on its way: when it was sent, when it was seen finished (or None), whether it has a video, its model."""

    sent: float
    finished: float | None
    good: bool
    model: str | None


# --- axes --------------------------------------------------------------------------------------------------------


def nice(most: float) -> list[float]:
    """Round numbers from 0 to just above `most`."""
    raw = max(most, 1e-9) / (TICKS - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * 0.999)
    return [round(step * number, 9) for number in range(math.ceil(round(most / step, 6)) + 1)]


def times(most: float) -> list[float]:
    """Times of day-to-day length from 0 to at most `most` seconds."""
    step = next((step for step in STEPS if most / step <= TICKS), STEPS[-1] * math.ceil(most / STEPS[-1] / TICKS))
    return [float(step * number) for number in range(int(most / step) + 1)]


def length(seconds: float) -> str:
    """A length of time in few letters."""
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{round(seconds / unit, 1):g} {name}"
    return f"{round(seconds, 1):g} s"


@attrs.frozen
class Frame:
    """The axes of a plot over time.

    Args:
        seconds: How long the time axis is.
        most: How high the other one is.
    """

    seconds: float
    most: float

    def x(self, seconds: float) -> float:
        """Where a time is."""
        return round(LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds, 1)

    def y(self, value: float) -> float:
        """Where a value is."""
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.most, 1)

    def axes(self, values: Iterable[float]) -> str:
        """Lines and numbers of both."""
        parts = []
        for value in values:
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(value)}" y2="{self.y(value)}"/>'
            )
            parts.append(f'<text x="{LEFT - 6}" y="{self.y(value) + 4}" text-anchor="end">{value:,g}</text>')
        for at in times(self.seconds):
            anchor = "middle" if self.x(at) < WIDTH - 30 else "end"
            parts.append(f'<text x="{self.x(at)}" y="{HEIGHT - 10}" text-anchor="{anchor}">{length(at)}</text>')
        return "".join(parts)


def figure(name: str, title: str, told: str, body: str, *, height: float = HEIGHT) -> str:
    """A plot with its title and with what it says in words."""
    return (
        f'<figure><figcaption id="{name}-title">{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-labelledby="{name}-title {name}-told">'
        f'{body}</svg><p id="{name}-told" class="told">{escape(told)}</p></figure>'
    )


# --- finished over time ------------------------------------------------------------------------------------------


def finished_over_time(spans: Sequence[Span], now: float) -> str:
    """How many tasks had ended by when; hours in which nothing was on its way are cut out."""
    ended = sorted((span.finished, span.good) for span in spans if span.finished is not None)
    if not ended:
        return ""
    clock = Busy(spans, now)
    marks = nice(max(sum(good for _, good in ended), sum(not good for _, good in ended)))
    frame = Frame(max(clock.seconds, 1.0), marks[-1])
    body = frame.axes(marks)
    for cut in clock.cuts:
        body += f'<line class="cut" x1="{frame.x(cut)}" x2="{frame.x(cut)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    told = []
    for kind, wanted, words in (("good", True, "with a video"), ("bad", False, "without")):
        at = [clock.at(time) for time, good in ended if good is wanted]
        if at:
            body += _stairs(frame, at, kind)
            told.append(f"{len(at):,} {words}" + (" (dashed)" if not wanted else ""))
    cuts = f"; {counted(len(clock.cuts), 'idle stretch', 'es')} cut out (dotted)" if clock.cuts else ""
    said = f"{', '.join(told)}, after {length(clock.seconds)}{cuts}."
    return figure("finished", "Finished over time", said, body)


def _stairs(frame: Frame, at: Sequence[float], kind: str) -> str:
    """One more with each time; of very many, as many as can be told apart."""
    keep = max(1, len(at) // WIDTH)
    points = [f"M{frame.x(0)} {frame.y(0)}"]
    for number, time in enumerate(at, 1):
        if number % keep == 0 or number == len(at):
            points.append(f"H{frame.x(time)}V{frame.y(number)}")
    points.append(f"H{frame.x(frame.seconds)}")
    return f'<path class="line {kind}" d="{"".join(points)}"/>'


class Busy:
    """Time that runs only while tasks are on their way, give or take `BREAK`.

    Args:
        spans: The tasks.
        now: When those end that have not.
    """

    def __init__(self, spans: Iterable[Span], now: float) -> None:
        self._stretches: list[list[float]] = []
        for begin, end in sorted((span.sent, max(span.sent, span.finished or now)) for span in spans):
            if self._stretches and begin <= self._stretches[-1][1] + BREAK:
                self._stretches[-1][1] = max(self._stretches[-1][1], end)
            else:
                self._stretches.append([begin, end])
        self.seconds = sum(end - begin for begin, end in self._stretches)
        self.cuts = [self.at(begin) for begin, _ in self._stretches[1:]]

    def at(self, time: float) -> float:
        """Busy seconds up to a moment."""
        return sum(min(end, time) - begin for begin, end in self._stretches if begin < time)


# --- waiting time by model ---------------------------------------------------------------------------------------


def waiting_by_model(spans: Iterable[Span]) -> str:
    """How long tasks took, by model: the middle one, and between which times eight in ten lie.

    Tasks during which the clock was set back are left out.
    """
    by_model: dict[str, list[float]] = {}
    for span in spans:
        if span.finished is not None and span.finished >= span.sent and span.good:
            by_model.setdefault(span.model or "model not known", []).append(span.finished - span.sent)
    if not by_model:
        return ""
    ranked = sorted(by_model.items(), key=lambda item: (-len(item[1]), item[0]))
    shown = [(model, *_tenths(took), len(took)) for model, took in ranked[:MODELS]]
    marks = times(max(high for _, _, _, high, _ in shown) * 1.02 + 1)
    frame = Frame(max(marks[-1], *(high for _, _, _, high, _ in shown), 1.0) * 1.02, 1.0)
    height = TOP + 44 * len(shown) + BOTTOM
    body = "".join(_grid(frame, at, height) for at in marks)
    body += "".join(_bar(frame, number, *row) for number, row in enumerate(shown))
    beyond = f" {len(ranked) - MODELS} more models are left out." if len(ranked) > MODELS else ""
    told = f"From the create to the video: the dot is the median, the bar holds eight in ten.{beyond}"
    return figure("waiting", "Waiting time by model", told, body, height=height)


def _tenths(took: list[float]) -> tuple[float, float, float]:
    """The first tenth, the middle and the last tenth."""
    if len(took) == 1:
        return took[0], took[0], took[0]
    tenths = statistics.quantiles(took, n=10, method="inclusive")
    return tenths[0], statistics.median(took), tenths[-1]


def _grid(frame: Frame, at: float, height: float) -> str:
    x = frame.x(at)
    return (
        f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{height - BOTTOM}"/>'
        f'<text x="{x}" y="{height - 10}" text-anchor="middle">{length(at)}</text>'
    )


def _bar(frame: Frame, number: int, model: str, low: float, middle: float, high: float, count: int) -> str:
    y = TOP + 44 * number + 30
    name = model if len(model) <= 26 else f"{model[:25]}…"
    return (
        f'<text x="{LEFT}" y="{y - 12}">{escape(name)} · {length(middle)} · {counted(count, "video")}</text>'
        f'<line class="range" x1="{frame.x(low)}" x2="{frame.x(high)}" y1="{y}" y2="{y}"/>'
        f'<circle class="dot" cx="{frame.x(middle)}" cy="{y}" r="5"/>'
    )


# --- requests and pauses -----------------------------------------------------------------------------------------

_LAYERS = (("looks", "looks"), ("creates", "creates"), ("repeated", "repeats"), ("refused", "refusals"))


def requests_and_pauses(traffic: Mapping[str, Any] | None) -> str:
    """What the last run sent, by time, and when the gateway had it pause."""
    if traffic is None:
        return ""
    counts, width, seconds = traffic["counts"], traffic["width"], max(traffic["seconds"], traffic["width"])
    bins = max(map(len, counts.values()))
    heights = [sum(series[place] for series in counts.values() if place < len(series)) for place in range(bins)]
    if not any(heights):
        return ""
    marks = nice(max(heights) / width)
    frame = Frame(seconds, marks[-1])
    body = frame.axes(marks) + _pauses(frame, traffic["pauses"]) + _stacks(frame, counts, bins, width)
    told = [f"{sum(counts[name]):,} {words}" for name, words in _LAYERS if sum(counts.get(name, ()))]
    paused = sum(min(end, seconds) - begin for begin, end in traffic["pauses"] if begin < seconds)
    said = f"Of the last run: {', '.join(told)}; paused {length(paused)}. Requests a second."
    legend = "".join(f'<span class="key {name}">{words}</span>' for name, words in (*_LAYERS, ("paused", "paused")))
    drawn = figure("requests", "Requests and pauses", said, body)
    return drawn.replace("</figure>", f'<p class="legend" aria-hidden="true">{legend}</p></figure>')


def _pauses(frame: Frame, pauses: Iterable[Sequence[float]]) -> str:
    shades = []
    for begin, end in pauses:
        left, right = frame.x(min(begin, frame.seconds)), frame.x(min(end, frame.seconds))
        shades.append(
            f'<rect class="paused" x="{left}" y="{TOP}" width="{max(right - left, 1):.1f}"'
            f' height="{HEIGHT - TOP - BOTTOM}"/>'
        )
    return "".join(shades)


def _stacks(frame: Frame, counts: Mapping[str, Sequence[int]], bins: int, width: float) -> str:
    """A bar a bin, its kinds one upon the other."""
    floors, parts = [0.0] * bins, []
    edges = [frame.x(min(place * width, frame.seconds)) for place in range(bins + 1)]
    for name, _ in _LAYERS:
        for place, (left, right) in enumerate(pairwise(edges)):
            series = counts.get(name, ())
            value = series[place] / width if place < len(series) else 0.0
            if value:
                low, high = frame.y(floors[place]), frame.y(floors[place] + value)
                parts.append(
                    f'<rect class="{name}" x="{left}" y="{high}" width="{max(right - left - 0.5, 0.5):.1f}"'
                    f' height="{max(low - high, 0):.1f}"/>'
                )
                floors[place] += value
    return "".join(parts)
