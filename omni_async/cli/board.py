"""What is known of the tasks of one command: a row each, kept up to date by the library's events. Shows nothing."""

import enum
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..events import Downloaded, Event, Finished, Polled, Submitted, Throttled, Uncertain
from ..models import TaskStatus

ROW = "row"
"""Key in a request's metadata that names its row."""


class BoardState(enum.StrEnum):
    """Where a row stands; the library's statuses, and what is before and after them."""

    WAITING = "waiting"
    UPLOADING = "uploading"
    QUEUED = "queued"
    RUNNING = "running"
    DOWNLOADING = "downloading"
    DONE = "done"
    FAILED = "failed"
    UNCERTAIN = "uncertain"

    @property
    def ended(self) -> bool:
        """Whether it changes no more."""
        return self in (BoardState.DONE, BoardState.FAILED, BoardState.UNCERTAIN)


_RUNS = {TaskStatus.QUEUED: BoardState.QUEUED, TaskStatus.RUNNING: BoardState.RUNNING}


@attrs.define(eq=False, kw_only=True)
class BoardRow:
    """One video. Times are seconds of the board's clock.

    Args:
        label: What it is called.
        private: What a terminal shows instead, and no log shall hold: a prompt.
        gateway: Where it runs.
        detail: More for wide screens, such as the model.
        wants_file: Whether it is done only when the video is on disk.
    """

    label: str
    private: str = ""
    gateway: str = ""
    detail: str = ""
    wants_file: bool = False
    task_id: str | None = None
    state: BoardState = BoardState.WAITING
    progress: int | None = None
    started: float | None = None
    ended: float | None = None
    file: str | None = None

    def seconds(self, now: float) -> float | None:
        """How long it has taken; None before it was submitted."""
        return None if self.started is None else (self.ended or now) - self.started


class Board:
    """All rows of a command.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = clock()
        self.rows: dict[str, BoardRow] = {}
        self.pause = ""
        self.paused_until = -math.inf
        self.on_change: Callable[[BoardRow], None] = _nobody_looks
        self.on_pause: Callable[[str], None] = _nobody_looks
        self._by_task: dict[str, BoardRow] = {}
        self._handlers: Mapping[type[Event], Callable[[BoardRow, Any], None]] = {
            Submitted: self._submitted,
            Polled: self._polled,
            Finished: self._finished,
            Downloaded: self._downloaded,
            Uncertain: self._uncertain,
        }

    def add(self, key: str, row: BoardRow) -> BoardRow:
        """Enter a row; one with a task id is being followed from now on."""
        self.rows[key] = row
        if row.task_id is not None:
            self.follow(row, row.task_id)
        return row

    def follow(self, row: BoardRow, task_id: str) -> None:
        """A row's task is being followed from now on."""
        row.task_id, row.started = task_id, self.clock()
        self._by_task[task_id] = row

    def on_event(self, event: Event) -> None:
        """Take an event of the library."""
        if isinstance(event, Throttled):
            self._throttled(event)
        elif (handler := self._handlers.get(type(event))) and (row := self._row(event)):
            handler(row, event)

    def set(self, row: BoardRow, state: BoardState) -> None:
        """Move a row; what has ended stays as it is."""
        if row.state is state or row.state.ended:
            return
        row.state = state
        if state.ended:
            row.ended = self.clock()
            row.progress = 100 if state is BoardState.DONE else row.progress
        self.on_change(row)

    def count(self) -> Counter[BoardState]:
        """How many rows stand where."""
        return Counter(row.state for row in self.rows.values())

    def elapsed(self) -> float:
        """Seconds since the board was made."""
        return self.clock() - self.began

    @property
    def all_ended(self) -> bool:
        """Whether nothing changes any more."""
        return all(row.state.ended for row in self.rows.values())

    def unfinished(self) -> list[BoardRow]:
        """Rows whose task is known and still to be fetched or followed."""
        return [row for row in self.rows.values() if row.task_id and not row.state.ended]

    def pause_shown(self) -> str:
        """The pause that holds now, in words; empty if none does."""
        return self.pause if self.clock() < self.paused_until else ""

    def _row(self, event: Any) -> BoardRow | None:
        named = self.rows.get(event.metadata.get(ROW, ""))
        return named or self._by_task.get(getattr(event, "task_id", None) or "")

    def _submitted(self, row: BoardRow, event: Submitted) -> None:
        self.follow(row, event.task_id)
        row.detail = row.detail or event.model or ""
        self.set(row, BoardState.QUEUED)

    def _polled(self, row: BoardRow, event: Polled) -> None:
        state = _RUNS.get(event.status)
        if state is not None:
            row.progress = event.progress if event.progress is not None else row.progress
            self.set(row, state)

    def _finished(self, row: BoardRow, event: Finished) -> None:
        if event.status is TaskStatus.SUCCEEDED:
            row.progress = 100
            self.set(row, BoardState.DOWNLOADING if row.wants_file else BoardState.DONE)
        else:
            self.set(row, BoardState.FAILED)

    def _downloaded(self, row: BoardRow, event: Downloaded) -> None:
        row.file = str(event.path)
        self.set(row, BoardState.DONE)

    def _uncertain(self, row: BoardRow, event: Uncertain) -> None:
        row.task_id = event.candidate
        self.set(row, BoardState.UNCERTAIN)

    def _throttled(self, event: Throttled) -> None:
        """A new pause is told; refusals within one are not."""
        now = self.clock()
        if event.pause <= 0:
            return
        fresh = now >= self.paused_until
        self.paused_until = max(self.paused_until, now + event.pause)
        self.pause = pause_text(event)
        if fresh:
            self.on_pause(self.pause)


def _nobody_looks(_change: object) -> None:
    """Until a view takes its place."""


def pause_text(event: Throttled) -> str:
    """A pause and what it is for."""
    return f"the gateway refused a {event.kind} for now ({event.cause}): pausing {event.pause:.1f} s"


def clock_text(seconds: float | None) -> str:
    """Seconds as `m:ss` or `h:mm:ss`; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(board: Board) -> str:
    """All rows in one line, such as `12 of 14: 10 done, 2 failed, 2 running`."""
    count = board.count()
    states = ", ".join(f"{count[state]} {state}" for state in BoardState if count[state])
    ended = sum(count[state] for state in BoardState if state.ended)
    return f"{ended} of {len(board.rows)} ended in {clock_text(board.elapsed())}: {states}"
