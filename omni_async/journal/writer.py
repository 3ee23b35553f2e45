"""One thread that writes the journal, many callers at a time into one commit.

While a commit is on its way to the disk, what arrives gathers and makes the next: sixteen creates in flight cost little
more than one.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from ..errors import JournalError, OmniError
from .ledger import Ledger
from .schema import journal_error
from .seam import NotNow

T = TypeVar("T")

TOGETHER = 512
"""Jobs in one commit at most."""

Opening = Callable[[], tuple[Ledger, Callable[[], None]]]


@attrs.define(eq=False)
class _Job(Generic[T]):
    """Work on the ledger for one caller."""

    work: Callable[[Ledger], T]
    future: "asyncio.Future[T]"
    result: T | None = None
    error: BaseException | None = None

    def attempt(self, ledger: Ledger) -> None:
        """Do it inside the running transaction; what the caller did wrong is his alone."""
        self.result = self.error = None
        try:
            self.result = self.work(ledger)
        except (OmniError, NotNow) as error:
            self.error = error

    def deliver(self) -> None:
        """On the loop: tell the caller."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


class Writer:
    """Runs work on a ledger, in the order it is given.

    Args:
        opening: Run in the thread: gives the ledger, and what is to be done at the end.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="omni_async journal", daemon=True)
        self.busy = threading.Event()
        self._ended = False

    async def open(self) -> None:
        """Start the thread and open the journal in it.

        Raises:
            JournalError: It cannot be opened.
        """
        self.busy.set()
        self._thread.start()
        await self._opened

    async def run(self, work: Callable[[Ledger], T]) -> T:
        """Do `work` and give what it gives, once that is durable.

        Raises:
            JournalError: It could not be written, and was not.
            OmniError: What `work` raises.
        """
        if self._ended:
            raise JournalError("the journal is closed", may_have_charged=False)
        job: _Job[T] = _Job(work, self._loop.create_future())
        self.busy.set()
        self._jobs.put(job)
        return await job.future

    def end(self) -> None:
        """Let the thread end when it has done what it was given."""
        if not self._ended:
            self._ended = True
            self._jobs.put(None)

    async def aclose(self) -> None:
        """End it and wait until the journal is closed."""
        self.end()
        while self._thread.is_alive():  # noqa: ASYNC110 - a thread's end is no event of the loop's
            await asyncio.sleep(0.001)

    # --- in the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
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
                _together(ledger, jobs)
                over = not self._tell(_deliver, jobs) or over

    def _gathered(self) -> tuple[list[_Job[Any]], bool]:
        """What has arrived, at least one job; whether it is the last."""
        if self._jobs.empty():
            self.busy.clear()
        jobs: list[_Job[Any]] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) >= TOGETHER:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _tell(self, function: Callable[..., None], *arguments: Any) -> bool:
        """Call a function on the loop; False if that has ended without `aclose`: then nobody listens any more."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False
        return True


def _together(ledger: Ledger, jobs: list[_Job[Any]]) -> None:
    """One transaction for all; if that fails, one for each, so that a job that cannot be done spoils no other."""
    try:
        ledger.begin()
        for job in jobs:
            job.attempt(ledger)
        ledger.commit()
    except Exception as error:
        with contextlib.suppress(sqlite3.Error):
            ledger.rollback()
        if len(jobs) > 1:
            for job in jobs:
                _together(ledger, [job])
        else:
            jobs[0].result, jobs[0].error = None, journal_error(_plain(error))


def _plain(error: BaseException) -> Exception:
    """An error that can be told of; what ends a thread is told as one too."""
    return error if isinstance(error, Exception) else RuntimeError(type(error).__name__)


def _deliver(jobs: list[_Job[Any]]) -> None:
    for job in jobs:
        job.deliver()


def _set(future: "asyncio.Future[None]", error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
