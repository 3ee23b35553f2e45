"""Runs a command's coroutine: the event loop, signals, and how what it ends in becomes an exit code."""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, NoReturn

import typer

from .board import BoardState
from .exits import DONE, FAILED, UNCERTAIN, code_of
from .output import note, until_left
from .screen import Screen, Show

Work = Callable[[Screen], Coroutine[Any, Any, int]]

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
HANGUP = getattr(signal, "SIGHUP", None)
TOLD_ANYHOW = ("whoever waited for ",)
"""How the library's warnings begin about what is told as unfinished, with the command that goes on with it."""
ECHO = 0.25
"""Seconds in which a second SIGTERM is still the first: `timeout` sends one to the process and one to its group."""


class Interrupts:
    """The first Ctrl-C, SIGTERM or closed terminal ends the work in good order, the second at once.

    Args:
        task: The work.
        screen: What has to be told, and to give the terminal back.
    """

    def __init__(self, task: "asyncio.Task[Any]", screen: Screen) -> None:
        self._task = task
        self._screen = screen
        self.number: int | None = None
        self._at = 0.0

    @property
    def code(self) -> int:
        """The exit code a shell expects: 128 and the signal."""
        return 128 + (self.number or signal.SIGINT)

    def listen(self) -> None:
        """Take the signals over for the running loop."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            if number == HANGUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # under nohup
            try:
                loop.add_signal_handler(number, self.received, number)
            except NotImplementedError:  # Windows
                signal.signal(number, self._from_outside(loop))
            except (RuntimeError, ValueError):
                return  # not the main thread: signals are somebody else's

    def _from_outside(self, loop: asyncio.AbstractEventLoop) -> Callable[[int, FrameType | None], None]:
        def handler(number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.received, number)

        return handler

    def received(self, number: int) -> None:
        """A signal came."""
        now = asyncio.get_running_loop().time()
        if number == HANGUP:
            _leave_terminal()
        if self._is_echo(number, now):
            return
        if self.number is not None:
            self._leave()
        self.number, self._at = number, now
        leaving = self._screen.leaving
        self._screen.hushed += TOLD_ANYHOW
        self._task.cancel()  # first of all: there may be no terminal any more to tell it
        if leaving.patience is not None:
            asyncio.get_running_loop().call_later(leaving.patience, self._leave)
        waits = f": {leaving.waits}" if leaving.waits else ""
        self._screen.note(f"stopping{waits}; once more leaves at once")

    def _is_echo(self, number: int, now: float) -> bool:
        """Whether a signal says no more than the one before: shells, terminals and systemd send several at once."""
        if self.number is None:
            return False
        near = number == signal.SIGTERM and self.number in (signal.SIGTERM, HANGUP) and now - self._at < ECHO
        return near or number == HANGUP

    def _leave(self) -> NoReturn:
        """Leave at once. No clean-up can be trusted to be quick, so there is none."""
        self._screen.stop()
        for line in self._screen.leaving.lost:
            note(line)
        tell_unfinished(self._screen)
        with until_left(sys.stdout):
            sys.stdout.flush()
        os._exit(self.code)


def _leave_terminal() -> None:
    """Write nowhere what went to a terminal that is closed: it would be an error, and end what has to be waited for."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere, stream)
    os.close(nowhere)


def run(work: Work, screen: Screen) -> NoReturn:
    """Run a command to its end and leave with its exit code."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_guarded(work, screen))
    raise typer.Exit(code)


def run_plain(work: Work, *, json: bool = False, quiet: bool = False) -> NoReturn:
    """Run a command that shows no progress of its own."""
    run(work, Screen(Show(progress="none", json=json, quiet=quiet)))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (the extra `speed`); it does not exist on Windows."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _guarded(work: Work, screen: Screen) -> int:
    task = asyncio.get_running_loop().create_task(work(screen))
    interrupts = Interrupts(task, screen)
    interrupts.listen()
    try:
        code = await task
    except asyncio.CancelledError:
        if interrupts.number is None:
            raise
        code = interrupts.code
    except Exception as error:
        screen.error(error)
        code = code_of(error)
    tell_unfinished(screen)
    return UNCERTAIN if code in (DONE, FAILED) and screen.board.count()[BoardState.UNCERTAIN] else code


def tell_unfinished(screen: Screen) -> None:
    """Say which tasks still run at the gateway and how to go on with them."""
    left = [row.task_id for row in screen.board.unfinished() if row.task_id]
    if left and screen.resume is not None:
        screen.note(f"{len(left)} still at the gateway, nothing is lost; go on with")
        screen.note(f"  {screen.resume_command(*left)}")
