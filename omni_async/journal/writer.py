"""One thread that writes the journal, many callers at a time into one commit.

While a commit is on its way to the disk, what arrives gathers and makes the next: sixteen creates in flight cost little
more than one.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from ..errors import JournalError, OmniError
from ..lifetime import Lasting
from .ledger import Ledger
from .schema import journal_error
from .seam import NotNow

T = TypeVar("T")
L = TypeVar("L", bound=Ledger)
F = TypeVar("F", bound="asyncio.Future[Any]")

TOGETHER = 512
"""Jobs in one commit at most."""
APART = 0.001
"""Seconds from one commit to the next, when there is more than one caller."""
IDLE = 2.0
"""Seconds after which an idle thread looks whether its loop has ended without `aclose`: then it lets the journal go."""

_known: "weakref.WeakValueDictionary[int, Writer[Any]]" = weakref.WeakValueDictionary()


@attrs.define(eq=False)
class _Job(Generic[T]):
    """Work on the ledger for one caller."""

    work: Callable[[Any], T]
    future: "asyncio.Future[T]"
    result: T | None = None
    error: BaseException | None = None

    def attempt(self, ledger: Ledger) -> bool:
        """Do it inside the running transaction; whether that can be committed, for what failed has changed nothing."""
        self.result = self.error = None
        before = ledger.connection.total_changes
        try:
            self.result = self.work(ledger)
        except (OmniError, NotNow) as error:
            self.error = error
            return ledger.connection.total_changes == before
        except Exception as error:
            self.error = ledger.trouble(error)
            return False
        return True

    def deliver(self) -> None:
        """On the loop: tell the caller."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


class Writer(Generic[L]):
    """Runs work on a ledger, in the order it is given.

    Args:
        opening: Run in the thread: gives the ledger, and what is to be done at the end.
    """

    def __init__(self, opening: Callable[[], tuple[L, Callable[[], None]]]) -> None:
        self._opening = opening
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="omni_async journal", daemon=True)
        self._waiting = 0
        self._ended = False
        self._left: list[Writer[Any]] = []
        _known[id(self)] = self

    @property
    def left(self) -> bool:
        """Whether its loop has ended without `aclose`."""
        return self._loop.is_closed() and self._thread.is_alive()

    @property
    def busy(self) -> bool:
        """Whether something is on its way: the opening, work that was not delivered yet, the closing."""
        return self._thread.is_alive() and (self._ended or self._waiting > 0 or not self._opened.done())

    async def open(self) -> None:
        """Start the thread and open the journal in it.

        Raises:
            JournalError: It cannot be opened.
        """
        self._left = [writer for writer in writers() if writer.left]
        self._thread.start()
        await self._opened

    def run(self, work: Callable[[L], T]) -> "asyncio.Future[T]":
        """Do `work`; the future has what it gives, once that is durable.

        It raises a JournalError if that could not be written, and was not, or what `work` raises.

        Raises:
            JournalError: The journal is closed.
        """
        return self._put(work, self._loop.create_future())

    def insist(self, work: Callable[[L], T]) -> Lasting[T]:
        """As `run`, for who is to hear of it though he is cancelled: see `outlasted`."""
        return self._put(work, Lasting(loop=self._loop))

    def _put(self, work: Callable[[L], T], future: F) -> F:
        if self._ended:
            raise JournalError("the journal is closed", may_have_charged=False)
        self._waiting += 1
        self._jobs.put(_Job(work, future))
        return future

    def end(self) -> None:
        """Let the thread end when it has done what it was given."""
        if not self._ended:
            self._ended = True
            self._jobs.put(None)

    def give_up(self) -> None:
        """End it from another's thread, and wait a while until the journal is closed."""
        self.end()
        self._thread.join(IDLE)

    async def aclose(self) -> None:
        """End it and wait until the journal is closed."""
        self.end()
        while self._thread.is_alive():  # noqa: ASYNC110 - a thread's end is not an event of the loop's
            await asyncio.sleep(0.001)

    # --- in the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        for writer in self._left:  # what they have is to be found by this one, and not only once they notice
            writer.give_up()
        self._left.clear()
        try:
            ledger, closing = self._opening()
        except BaseException as error:
            self._tell(_set, self._opened, error if isinstance(error, OmniError) else journal_error(_plain(error)))
            return
        self._tell(_set, self._opened, None)
        try:
            self._work(ledger)
        finally:
            with contextlib.suppress(sqlite3.Error):
                ledger.connection.close()
            closing()

    def _work(self, ledger: Ledger) -> None:
        over = False
        while not over:
            jobs, over = self._gathered()
            if jobs:
                began = time.perf_counter()
                _together(ledger, jobs)
                over = not self._tell(self._deliver, jobs) or over
                if len(jobs) > 1 and not over:  # on a fast disk commits would be many and small
                    time.sleep(max(APART - (time.perf_counter() - began), 0.0))

    def _gathered(self) -> tuple[list[_Job[Any]], bool]:
        """What has arrived, at least one job; whether it is the last."""
        jobs: list[_Job[Any]] = []
        job = self._next()
        while job is not None:
            jobs.append(job)
            if len(jobs) >= TOGETHER:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _next(self) -> _Job[Any] | None:
        while True:
            try:
                return self._jobs.get(timeout=IDLE)
            except queue.Empty:
                if self._loop.is_closed():
                    return None

    def _tell(self, function: Callable[..., None], *arguments: Any) -> bool:
        """Call a function on the loop; False if that has ended without `aclose`: then nobody listens any more."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False
        return True

    def _deliver(self, jobs: list[_Job[Any]]) -> None:
        self._waiting -= len(jobs)
        for job in jobs:
            job.deliver()


def writers() -> "list[Writer[Any]]":
    """All there are. Taken at once: other loops, in threads of their own, open journals meanwhile."""
    return [writer for known in _known.valuerefs() if (writer := known()) is not None]


def _together(ledger: Ledger, jobs: list[_Job[Any]]) -> None:
    """One transaction for all; if one of them cannot be done, one for each, so that it spoils no other."""
    try:
        ledger.begin()
        if all(job.attempt(ledger) for job in jobs):
            ledger.commit()
            return
    except Exception as error:  # the disk, or another process: it is the same for all of them
        for job in jobs:
            job.result, job.error = None, ledger.trouble(error)
        jobs = []
    with contextlib.suppress(sqlite3.Error):
        ledger.rollback()
    if len(jobs) > 1:
        for job in jobs:
            _together(ledger, [job])


def _plain(error: BaseException) -> Exception:
    """An error that can be told of; what ends a thread is told as one too."""
    return error if isinstance(error, Exception) else RuntimeError(type(error).__name__)


def _set(future: "asyncio.Future[None]", error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
