"""What a command shows: the view that fits the terminal, notes beside it, results on stdout."""

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TextIO, cast

import attrs
from rich.console import Console

from ..events import Event, Submitted
from .board import Board
from .exits import lines_of
from .live import LiveView, picture
from .output import out, until_left
from .plain import PlainView, SilentView

LIBRARY_LOG = logging.getLogger("omni_async")


class View(Protocol):
    """One way to show progress."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, and give the terminal back."""

    def note(self, text: str) -> None:
        """A line for a person."""

    def result(self, text: str) -> bool:
        """Show a result if the view owns the terminal; whether it did."""


@attrs.frozen(kw_only=True)
class Show:
    """What the user wants to see.

    Args:
        progress: `auto`, `live`, `plain` or `none`.
        quiet: Only ids of what is paid, errors and results.
        json: Results as JSON.
    """

    progress: str = "auto"
    quiet: bool = False
    json: bool = False


@attrs.frozen(kw_only=True)
class Leaving:
    """What is said and done when the user ends a command early.

    Args:
        waits: What the first Ctrl-C waits for.
        lost: Lines for a second one, which leaves at once.
        patience: Seconds that an orderly end may take; None for as long as it takes.
    """

    waits: str = ""
    lost: tuple[str, ...] = ()
    patience: float | None = None


DRAINED = "creates in flight are waited for"
_PAYING = Leaving(
    waits=DRAINED,
    lost=("left at once: a create that was in flight may have been charged; look in the gateway's console",),
)


class _Warnings(logging.Handler):
    """The library's warnings as notes."""

    def __init__(self, screen: "Screen") -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Show one, without its advice for programmers and without a traceback."""
        told = record.getMessage().removesuffix("; see client.unclaimed()")
        if not told.startswith(self._screen.hushed):
            self._screen.note(f"warning: {told}")


class Screen:
    """Works as `async with`: progress is shown inside.

    Args:
        show: What the user wants to see.
        title: What stands above live progress.
        view: How it is shown, if not as a board of tasks.
    """

    def __init__(self, show: Show, *, title: str = "", view: View | None = None) -> None:
        self.show = show
        self.board = Board()
        self.hushed: tuple[str, ...] = ()
        """How warnings begin that say nothing here."""
        self._view = view or _view(show, self.board, title)
        self._warnings = _Warnings(self)
        self.resume: str | None = None
        """Options of the command that can go on; None if none can, as where the gateway ends with this one."""
        self.early: Leaving | None = None
        """What is said and done when the user ends the command early, if not the usual."""
        self._on = False

    async def __aenter__(self) -> Self:
        LIBRARY_LOG.addHandler(self._warnings)
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        LIBRARY_LOG.removeHandler(self._warnings)

    def _start(self) -> None:
        self._on = True
        self._view.start()

    def stop(self) -> None:
        """Give the terminal back."""
        if self._on:
            self._on = False
            self._view.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The terminal is somebody else's inside, such as a question's."""
        shown = self._on
        self.stop()
        yield
        if shown:
            self._start()

    def note(self, text: str) -> None:
        """A line for a person, shown even with `-q`."""
        self._view.note(text)

    def error(self, error: BaseException) -> None:
        """An error and what to do about it."""
        for line in lines_of(error):
            self.note(line)

    def result(self, text: str) -> None:
        """A line of result: on stdout, and not through a picture that is being drawn."""
        if not self._view.result(text):
            out(text)

    def on_event(self, event: Event) -> None:
        """Take an event of the library; the id of what is paid is told at once."""
        self.board.on_event(event)
        if isinstance(event, Submitted):
            how = f"; should this end early: {self.resume_command(event.task_id)}" if self.resume is not None else ""
            self.note(f"task {event.task_id}{how}")

    @property
    def leaving(self) -> Leaving:
        """What is said and done when the user ends the command early."""
        return self.early or (_PAYING if self.resume is not None else Leaving())

    def resume_command(self, *task_ids: str) -> str:
        """The command that goes on waiting for these tasks."""
        return f"omni-async wait {shlex.join(task_ids)} {self.resume or ''}".rstrip()


def kind_of(show: Show) -> str:
    """Which way of showing progress fits the user's wish and the terminal: `live`, `plain` or `none`."""
    if show.quiet:
        return "none"
    if show.progress == "auto":
        return "live" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    return show.progress


class _Stderr:
    """Stderr, for rich: of a full disk or a reader who has gone it would make an end of the command."""

    def write(self, text: str) -> None:
        with until_left(sys.stderr):
            sys.stderr.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def flush(self) -> None:
        """It is flushed already."""


def terminal() -> Console:
    """Stderr's console, to draw on."""
    return Console(file=cast("TextIO", _Stderr()), stderr=True, force_terminal=True, highlight=False)


def _view(show: Show, board: Board, title: str) -> View:
    kind = kind_of(show)
    if kind == "none":
        return SilentView()
    if kind == "plain":
        return PlainView(board)
    console = terminal()
    return LiveView(console, lambda: picture(board, console, title))
