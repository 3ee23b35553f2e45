"""Progress without a terminal: one plain line per change for a few tasks, a summary now and then, each pause."""

import abc
import asyncio

from .board import Board, BoardRow, BoardState, summary
from .output import note

FEW = 20
"""Up to so many rows each change has its line."""
TOO_SHORT = frozenset({BoardState.UPLOADING, BoardState.QUEUED, BoardState.DOWNLOADING})
"""What passes by itself in a moment and deserves no line."""
EVERY = 30.0
"""Seconds between two summaries."""


class SilentView:
    """Shows nothing but notes."""

    def start(self) -> None:
        """Nothing to begin."""

    def stop(self) -> None:
        """Nothing to end."""

    def note(self, text: str) -> None:
        """A line for a person."""
        note(text)

    def result(self, text: str) -> bool:
        """Whether the view itself shows a result; it does not: stdout is free."""
        return False


class LookingView(SilentView, abc.ABC):
    """Looks now and then at what it tells of.

    Args:
        pause: Seconds between two looks.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.look()
        self.start()

    @abc.abstractmethod
    def look(self) -> None:
        """Look once, and tell."""


class PlainView(LookingView):
    """Writes lines to stderr.

    Args:
        board: What to show.
        every: Seconds between summaries.
    """

    def __init__(self, board: Board, *, every: float = EVERY) -> None:
        super().__init__(every)
        self._board = board
        board.on_change = self._changed
        board.on_pause = self.note

    def _changed(self, row: BoardRow) -> None:
        refused = row.state is BoardState.FAILED and row.task_id is None  # its error is told by itself
        if len(self._board.rows) <= FEW and row.state not in TOO_SHORT and not refused:
            seconds = row.seconds(self._board.clock())
            took = f" after {seconds:.0f} s" if row.state.ended and seconds is not None else ""
            names = dict.fromkeys(filter(None, (row.task_id, row.label)))
            note(f"{' '.join(names) or 'create'}: {row.state}{took}")

    def look(self) -> None:
        """A summary, while anything changes."""
        if not self._board.all_ended:
            note(summary(self._board))
