"""Progress on a terminal: a line per task, or counts by state where there are too many for the screen."""

import asyncio
import sys
from collections.abc import Callable, Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .board import Board, BoardRow, BoardState, clock_text
from .output import printable

MOST_ROWS = 20
FRAME = 0.1
"""Seconds between two pictures."""
WIDE, MEDIUM = 90, 60
"""Columns of the terminal from which on more is shown."""
NAME, COUNT = 14, 9
"""Columns for a state's name and for its count."""
LEAST_BAR, LONGEST_BAR = 8, 60
OTHER_LINES = 5
"""Lines of the screen that rows must leave free."""

STYLE = {
    BoardState.WAITING: "dim",
    BoardState.UPLOADING: "blue",
    BoardState.QUEUED: "yellow",
    BoardState.RUNNING: "cyan",
    BoardState.DOWNLOADING: "blue",
    BoardState.DONE: "green",
    BoardState.FAILED: "red",
    BoardState.UNCERTAIN: "magenta",
}
SIGN = {
    BoardState.WAITING: "·",
    BoardState.UPLOADING: "↑",
    BoardState.QUEUED: "○",
    BoardState.RUNNING: "◐",
    BoardState.DOWNLOADING: "↓",
    BoardState.DONE: "✓",
    BoardState.FAILED: "✗",
    BoardState.UNCERTAIN: "?",
}


class LiveView:
    """Draws on a terminal until it is stopped; the last picture stays.

    Args:
        console: Where; stderr's.
        drawn: Gives the picture as it is now.
        frame: Seconds between two pictures.
    """

    def __init__(self, console: Console, drawn: Callable[[], RenderableType], *, frame: float = FRAME) -> None:
        self._console = console
        self._frame = frame
        self._timer: asyncio.TimerHandle | None = None
        # Pictures are drawn in the event loop: rich's own thread would read the rows while they change. Stdout is left
        # alone: rich would send what is piped to the terminal.
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, get_renderable=drawn
        )

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()
        self._tick()

    def stop(self) -> None:
        """Draw the last picture and give the terminal back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._live.stop()

    def note(self, text: str) -> None:
        """A line above the picture."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def result(self, text: str) -> bool:
        """Show a result above the picture if stdout is the terminal too; whether that was so."""
        if not (self._timer and sys.stdout.isatty()):
            return False
        self.note(text)
        return True

    def _tick(self) -> None:
        self._live.refresh()
        self._timer = asyncio.get_running_loop().call_later(self._frame, self._tick)


def picture(board: Board, console: Console, title: str = "") -> RenderableType:
    """The board as it stands now, in a form that fits the console."""
    many = len(board.rows) > min(MOST_ROWS, max(1, console.height - OTHER_LINES))
    body = _counts(board, console.width) if many else _rows(board, console.width)
    parts: list[RenderableType] = [Text(title, style="bold", no_wrap=True, overflow="ellipsis")] if title else []
    parts.append(body)
    if len(board.rows) > 1 or board.pause_shown():
        parts.append(_footer(board))
    return Group(*parts)


def _rows(board: Board, width: int) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=1)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    if width >= WIDE:
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=30)
    if width >= MEDIUM:
        table.add_column(width=11)
        table.add_column(width=min(24, width // 5))
    table.add_column(width=4, justify="right")
    table.add_column(min_width=5, justify="right", no_wrap=True)
    for row in board.rows.values():
        table.add_row(*_cells(row, board, width))
    return table


def _cells(row: BoardRow, board: Board, width: int) -> list[RenderableType]:
    style = STYLE[row.state]
    name = " ".join(printable(row.private or row.label).split())
    cells: list[RenderableType] = [Text(SIGN[row.state], style=style), Text(name)]
    if width >= WIDE:
        where = " ".join(filter(None, (row.gateway, row.detail)))
        cells.append(Text(printable(where), style="dim"))
    if width >= MEDIUM:
        cells.append(Text(row.state, style=style))
        cells.append(bar(row.progress or 0, 100, style))
    percent = "" if row.progress is None else f"{row.progress}%"
    return [*cells, Text(percent, style=style), Text(clock_text(row.seconds(board.clock())), style="dim")]


def bar(count: int, total: int, style: str) -> ProgressBar:
    """How much of a whole there is."""
    return ProgressBar(
        total=max(total, 1), completed=count, complete_style=style, finished_style=style, style="bright_black"
    )


def bars(states: Iterable[tuple[str, str, str, int]], total: int, width: int) -> Table:
    """A line for each state: its sign, style and name, how many there are, and how much of the whole that is."""
    longest = min(LONGEST_BAR, width - NAME - COUNT - 5)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=NAME, no_wrap=True)
    table.add_column(min_width=min(COUNT, 5), justify="right", no_wrap=True)
    if longest >= LEAST_BAR:
        table.add_column(width=longest)
    for sign, style, name, count in states:
        cells: list[RenderableType] = [Text(sign, style=style), Text(name, style=style), f"{count:,}"]
        table.add_row(*cells, *([bar(count, total, style)] if longest >= LEAST_BAR else []))
    return table


def _counts(board: Board, width: int) -> Table:
    """How many stand where."""
    count = board.count()
    states = ((SIGN[state], STYLE[state], state, count[state]) for state in BoardState if count[state])
    return bars(states, len(board.rows), width)


def _footer(board: Board) -> Text:
    count = board.count()
    done, ended = count[BoardState.DONE], sum(count[state] for state in BoardState if state.ended)
    bad = f" · {ended - done} not" if ended > done else ""
    line = Text(f"{done:,} of {len(board.rows):,} done{bad} · {clock_text(board.elapsed())}", style="bold")
    if board.pause_shown():
        line.append(f" · {board.pause_shown()}", style="yellow")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
