"""Progress of a batch as it is shown: drawn on a terminal, or in plain lines."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..wording import doubtful
from .board import clock_text
from .live import LiveView, bars
from .output import note, printable, until_left
from .plain import EVERY, LookingView, SilentView
from .screen import Show, View, kind_of, terminal
from .tally import OPEN, Look, Stand, Tally, span_text

FRAME = 0.2
GLANCE = 1.0
"""Seconds between two looks for a new pause, without a terminal."""
LONGEST_CAUSE = 300
"""Letters of a cause at most: gateways' words can be long."""
ALWAYS = (Stand.WAITING, Stand.RUNNING, Stand.STORING, Stand.DONE)
"""States that have a line from the beginning, so that the picture does not jump."""

STYLE = {
    Stand.WAITING: "dim",
    Stand.LATER: "dim",
    Stand.RUNNING: "cyan",
    Stand.STORING: "blue",
    Stand.DONE: "green",
    Stand.FAILED: "red",
    Stand.REJECTED: "red",
    Stand.UNCERTAIN: "bold magenta",
    Stand.EXPIRED: "yellow",
}
SIGN = {
    Stand.WAITING: "·",
    Stand.LATER: "·",
    Stand.RUNNING: "◐",
    Stand.STORING: "↓",
    Stand.DONE: "✓",
    Stand.FAILED: "✗",
    Stand.REJECTED: "✗",
    Stand.UNCERTAIN: "?",
    Stand.EXPIRED: "✗",
}


def view_of(tally: Tally, show: Show) -> View:
    """The view that fits the user's wish and the terminal."""
    kind = kind_of(show)
    if kind == "none":
        return SilentView()
    if kind == "plain":
        return PlainTally(tally)
    console = terminal()
    return LiveView(console, lambda: picture(tally, console.width), frame=FRAME)


# --- on a terminal -----------------------------------------------------------------------------------------------


def picture(tally: Tally, width: int) -> RenderableType:
    """The batch as it stands now, in a form that fits the width."""
    if tally.read is not None:
        return Text(reading_text(tally.read), style="dim")
    if not tally.running:
        return Group()
    look = tally.look()
    return Group(_bars(look, width), *(Text(text, style=style) for text, style in _footer(look, width)))


def _bars(look: Look, width: int) -> Table:
    """How many rows stand where."""
    shown = ((stand, count) for stand, count in look.rows.items() if count or stand in ALWAYS)
    return bars(((SIGN[stand], STYLE[stand], stand, count) for stand, count in shown), look.total, width)


def _footer(look: Look, width: int) -> Iterator[tuple[str, str]]:
    """What stands below the bars, each line with its style."""
    ended = sum(count for stand, count in look.rows.items() if stand not in OPEN)
    share = math.floor(100 * ended / look.total) if look.total else 100
    yield _packed((f"{share}% of {look.total:,}", clock_text(look.elapsed), *_speeds(look)), width), "bold"
    if look.account:
        first, *others = look.account
        yield _packed((f"the account: {first}", *others), width), "dim"
    for cause in look.causes.values():
        yield printable(cause if len(cause) <= LONGEST_CAUSE else f"{cause[: LONGEST_CAUSE - 1]}…"), "yellow"
    if uncertain := look.rows[Stand.UNCERTAIN]:
        yield f"{doubtful(uncertain)}: settle {'it' if uncertain == 1 else 'them'} afterwards", "magenta"


def _packed(parts: Iterable[str], width: int) -> str:
    """Parts side by side, in as many lines as they need."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return "\n".join(lines)


def _speeds(look: Look) -> Iterator[str]:
    if look.rate:
        yield f"{_number(look.rate)} videos/min"
    if look.left:
        yield f"about {span_text(look.left)} left"
    if look.speed:
        yield f"{_bytes(look.speed)}/s"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def reading_text(count: int) -> str:
    """While a sheet is checked."""
    return f"checking the sheet: {count:,} rows read"


# --- without a terminal ------------------------------------------------------------------------------------------


def line(look: Look) -> str:
    """The batch in one line."""
    states = (f"{count:,} {stand}" for stand, count in look.rows.items() if count)
    return " · ".join((clock_text(look.elapsed), *states, *_speeds(look)))


class PlainTally(LookingView):
    """Writes a line to stderr now and then, and one for each new pause.

    Args:
        tally: What to show.
        every: Seconds between two lines.
        glance: Seconds between two looks for a new pause.
    """

    def __init__(self, tally: Tally, *, every: float = EVERY, glance: float = GLANCE) -> None:
        super().__init__(glance)
        self._tally, self._every = tally, every
        self._last = tally.clock()
        self._told: dict[str, float] = {}

    def look(self) -> None:
        """Look once: what is new is told, and now and then how it stands."""
        tally, now = self._tally, self._tally.clock()
        due = now - self._last >= self._every
        if tally.running:
            look = tally.look()
            self._tell(look, now)
            if due:
                note(line(look))
        elif tally.read is not None and due:
            note(reading_text(tally.read))
        if due:
            self._last = now

    def _tell(self, look: Look, now: float) -> None:
        """Causes that were not told of lately; one that lasts is told once."""
        for name, cause in look.causes.items():
            if now - self._told.get(name, -math.inf) >= self._every:
                note(cause)
            self._told[name] = now


class ReadingLine:
    """Tells how many rows were read where there is no event loop; works as the progress of `dry_plan`.

    Args:
        kind: As `kind_of` gives it.
        text: What is told of a count of rows.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        kind: str,
        *,
        text: Callable[[int], str] = reading_text,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._text = text
        self._kind, self._clock = kind, clock
        self._last = clock()
        self._drawn = False

    def __call__(self, count: int) -> None:
        if self._kind == "live":
            self._write(f"\r{self._text(count)}")
            self._drawn = True
        elif self._kind == "plain" and self._clock() - self._last >= EVERY:
            self._last = self._clock()
            note(self._text(count))

    def clear(self) -> None:
        """Leave no trace on the terminal."""
        if self._drawn:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        with until_left(sys.stderr):
            sys.stderr.write(text)
