"""Many requests at once: pulled only as fast as they can be run, given back in order of finishing.

A fixed set of submitters pulls and submits; what was submitted is followed by the shared poller, so a running task
costs a few hundred bytes and no coroutine.
"""

import asyncio
import contextvars
import copy
import math
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from .breaker import Shutout
from .errors import OmniError
from .lifetime import Waits, is_cancelled, loop_time, put_off, running_loop
from .models import Outcome, VideoRequest, VideoTask
from .poller.waiting import timed_out
from .retry import is_temporary
from .room import Leave, Room
from .turns import PATIENCE, Turn, Turns, server_of

OUTSTANDING = 10_000
"""Tasks submitted and not yet at their end for the caller, at most, where he sets no lower number."""
SUBMITTERS = 32
"""Creates on their way at most, and rows whose files are uploaded."""
AHEAD = 4
"""Rows at most that were pulled and wait for leave, beside those refused since: another run can have the rest."""
DOWNLOADERS = 8

ENDS_PROGRAM = (KeyboardInterrupt, SystemExit)
"""What a task raises out of the event loop as well: who catches it there and goes on must not wait for ever."""

Asked = VideoRequest | str | Mapping[str, Any]
"""A request as calls take it."""
Requests = Iterable[Asked] | AsyncIterable[Asked]
Download = Callable[[VideoTask, VideoRequest], Awaitable[Path]]

_working: set["asyncio.Task[None]"] = set()
"""Workers under way: one that waits for its own run alone would be collected with an iterator dropped in a cycle."""


class Callbacks(NamedTuple):
    """What a run needs of the client.

    Args:
        request: Makes a request of an item.
        submit: Submits one, and calls what it is given when it has leave to.
        follow: Registers a waiter for a task; gives what is kept of it.
        let_go: Withdraws it.
        missed: Why the last look at a task told nothing, if so.
        finished: Gives back a finished task with a video, or raises TaskFailedError.
        waits: Ended with the client.
        left: Told of outcomes that nobody will be given.
        download: Stores a task's video, in a few tries; None if none is wanted.
    """

    request: Callable[[Any], VideoRequest]
    submit: Callable[[VideoRequest, Callable[[], None]], Awaitable[VideoTask]]
    follow: Callable[[VideoTask, Any], VideoTask]
    let_go: Callable[[str, Any], VideoTask | None]
    missed: Callable[[str], OmniError | None]
    finished: Callable[[VideoTask], VideoTask]
    waits: Waits
    left: Callable[[Iterable[Outcome]], None]
    download: Download | None = None


class _Row:
    """One submitted request, waiting at the poller for its task's end."""

    __slots__ = ("caught_up", "deadline", "last", "request", "run", "since")
    every = False

    def __init__(self, run: "_Run", request: VideoRequest, task: VideoTask) -> None:
        self.run = run
        self.request = request
        self.last = task
        self.since, self.caught_up = loop_time(), False
        self.deadline = math.inf if run.timeout is None else self.since + max(run.timeout, 0.0)

    def changed(self, task: VideoTask) -> None:
        """The poller: the task changed."""
        self.last = task
        if task.status.finished:
            self.run.finished(self, task)

    def failed(self, task_id: str, error: OmniError) -> None:
        """The poller: the task cannot be followed."""
        self.run.ended(self, error)


class _Run:
    """The work behind the iterator. It holds no reference to it, so that dropping the iterator ends the work."""

    def __init__(self, source: Requests, callbacks: Callbacks, outstanding: int, timeout: float | None) -> None:
        self.callbacks = callbacks
        self.timeout = timeout
        self.outcomes: deque[Outcome] = deque()
        self.arrived = asyncio.Event()
        self.open: dict[_Row, None] = {}  # in the order in which their time will be over
        self._timer: asyncio.Handle | None = None
        self._source: Iterator[Any] | AsyncIterator[Any] = (
            aiter(source) if isinstance(source, AsyncIterable) else iter(source)
        )
        self._pulling = asyncio.Lock()
        self._room, self._ahead = Room(outstanding), asyncio.Semaphore(AHEAD)
        self._exhausted = False
        self._active = 0
        self.stopped = False
        self.failure: BaseException | None = None
        """Raised once all else is given out."""
        self._shutout = Shutout()
        self._refusal: OmniError | None = None  # of the key or the account: the next would meet it, too
        self._unstored: dict[_Row, None] = {}  # finished, and not yet given out
        self._files: Turns[_Row] = Turns(lambda turn: turn.since + PATIENCE)
        context = contextvars.copy_context()
        self.loop = loop = asyncio.get_running_loop()
        workers = [self._submit() for _ in range(min(SUBMITTERS, outstanding))]
        workers += [self._store() for _ in range(DOWNLOADERS if callbacks.download else 0)]
        self._tasks = [loop.create_task(worker, context=context) for worker in workers]
        _working.update(self._tasks)
        for task in self._tasks:
            task.add_done_callback(_ended)

    async def next(self) -> Outcome | None:
        """The next outcome; None when all are out, or it was stopped."""
        while not self.outcomes:
            if self.stopped or (self._exhausted and not self._active):
                return None
            self.arrived.clear()
            await self.arrived.wait()
        self._room.give_back()
        return self.outcomes.popleft()

    async def _submit(self) -> None:
        """Pull and submit, one after the other."""
        while True:
            await self._room.take()
            await self._ahead.acquire()
            leave = Leave(self._ahead)
            async with self._pulling:
                found, item = await self._pull()
                self._active += found
            if not found:
                self._room.give_back()
                leave()
                self.arrived.set()
                return
            await self._through(self._run(item, leave))
            leave()

    async def _through(self, work: Coroutine[Any, Any, None]) -> None:
        """One row's work. What should not happen breaks the run: no more is pulled, and it is raised at the end."""
        try:
            await work
        except BaseException as error:
            if _ends_worker(error):
                raise
            self._break(error)
            if isinstance(error, ENDS_PROGRAM):
                raise

    async def _pull(self) -> tuple[bool, Any]:
        if self._exhausted:
            return False, None
        source, waits = self._source, self.callbacks.waits
        try:
            if isinstance(source, AsyncIterator):
                return True, await waits.until(anext, source)
            if not waits.ended:
                return True, next(source)
        except (StopIteration, StopAsyncIteration):
            self._exhausted = True
            return False, None
        except BaseException as error:  # of the caller's own iterable: what was submitted is still given out first
            if _ends_worker(error):
                raise
            self._fail(error)
            if isinstance(error, ENDS_PROGRAM):
                raise
        if waits.ended:
            self._fail(OmniError("the client was closed; the rest was not submitted", may_have_charged=False))
        return False, None

    async def _run(self, item: Any, leave: Leave) -> None:
        request: VideoRequest | None = None
        try:
            request = self.callbacks.request(item)
            if self._refusal is not None:
                self._fail(self._refusal)
                raise _of(request, self._refusal)
            task = await self.callbacks.submit(request, leave)
        except OmniError as error:
            if self._shutout.is_for_all(error):
                self._refusal = error
            self._put(Outcome(request=request, error=error))
            return
        self._shutout.accepted()
        row = _Row(self, request, task)
        self.open[row] = None
        if self.timeout is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(row.deadline, self._time_out)
        known = self.callbacks.follow(task, row)
        if row.last is task:  # without the answer it came with
            row.last = known

    def finished(self, row: _Row, task: VideoTask) -> None:
        """A row's task is at its end."""
        try:
            self.callbacks.finished(task)
        except OmniError as failure:
            self.ended(row, failure)
        except Exception as error:  # a caller's own dialect tripped
            self.open.pop(row, None)
            self._unstored[row] = None
            self._break(error)
        else:
            if self.callbacks.download is None:
                self.ended(row, None)
            else:
                self.open.pop(row, None)
                self._unstored[row] = None
                self._files.add(Turn(row, server=server_of(task.video_url)))

    def ended(self, row: _Row, error: OmniError | None) -> None:
        """A row is through."""
        if row in self.open:
            del self.open[row]
            self._put(Outcome(request=row.request, task=row.last, error=error))

    def _time_out(self) -> None:
        """Give up waiting for tasks whose time is over, and look again when that of the next one is."""
        if put_off(self.open):
            self.open = dict.fromkeys(sorted(self.open, key=lambda row: row.deadline))
        self._timer, now = None, loop_time()
        for row in tuple(self.open):
            if row.deadline > now:
                self._timer = asyncio.get_running_loop().call_at(row.deadline, self._time_out)
                return
            missed = self.callbacks.missed(row.last.task_id)
            row.last = self.callbacks.let_go(row.last.task_id, row) or row.last
            self.ended(row, timed_out(row.last.task_id, row.last, now - row.since, missed=missed))

    async def _store(self) -> None:
        """Download what has finished; once the client is closed, what rests is told so at once."""
        while self.callbacks.download is not None:
            try:
                turn = await self.callbacks.waits.until(self._files.next)
            except OmniError:
                self._files.wake_all()
                turn = await self._files.next()
            await self._through(self._deliver(self.callbacks.download, turn))

    async def _deliver(self, download: Download, turn: Turn[_Row]) -> None:
        """Download a row's video; a server that fails is left to itself for a while, and others are asked.

        Meanwhile the row needs no room: its task runs no more. It takes it back when it is to be given out, so that
        rows that nobody takes hold back those to come.
        """
        row, rested, path, error = turn.of, turn.late, None, None
        try:
            path = await download(row.last, row.request)
        except OmniError as failure:
            if is_temporary(failure) and self._files.put_off(turn, failure):
                if not rested:
                    self._room.give_back()
                return
            error = failure
        except BaseException:
            self._files.over(turn)
            raise
        self._files.over(turn, came=error is None)
        if rested:
            self._room.owe()
        del self._unstored[row]
        self._put(Outcome(request=row.request, task=row.last, error=error, path=path))

    def _break(self, error: BaseException) -> None:
        """A row will have no outcome."""
        self._active -= 1
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """No more is pulled, and this is raised at the end."""
        if isinstance(error, (asyncio.CancelledError, *ENDS_PROGRAM)):  # of something that was waited for
            what = "cancelled" if isinstance(error, asyncio.CancelledError) else "interrupted"
            error = OmniError(f"a row or the requests' own iterable was {what}; the rest was not submitted")
        self._exhausted, self.failure = True, error
        self.arrived.set()

    def _put(self, outcome: Outcome) -> None:
        self._active -= 1
        self.outcomes.append(outcome)
        self.arrived.set()

    def standing(self) -> str:
        """How much was pulled and not given out: for people."""
        return f"{self._active} under way, {len(self.outcomes)} ready"

    def stop(self) -> list["asyncio.Task[None]"]:
        """End the work: POSTs in flight go on in the client, tasks go on at the gateway."""
        running = [task for task in self._tasks if not task.done()]
        if self.stopped:
            return running
        self.stopped, self.failure = True, None
        for row in self.open:
            self.callbacks.let_go(row.last.task_id, row)
        rows = (*self._unstored, *self.open)
        self.callbacks.left([*self.outcomes, *(Outcome(request=row.request, task=row.last) for row in rows)])
        for left in (self.outcomes, self._unstored, self.open):
            left.clear()
        if self._timer is not None:
            self._timer.cancel()
        for task in running:
            if task.get_loop().is_closed():
                _working.discard(task)
            else:
                task.cancel()
        return running


def _ended(worker: "asyncio.Task[None]") -> None:
    """A worker is over; what it was interrupted by has been raised already."""
    _working.discard(worker)
    if not worker.cancelled():
        worker.exception()


def _ends_worker(error: BaseException) -> bool:
    """Whether it is meant for whoever runs: the end of this task."""
    return isinstance(error, GeneratorExit) or is_cancelled()


def _of(request: VideoRequest, refusal: OmniError) -> OmniError:
    """Another row's refusal as that of a row that was not sent."""
    error = copy.copy(refusal)
    error.custom_id, error.metadata = request.custom_id, request.metadata
    return error


class Many:
    """Async iterator over `Outcome`s in order of finishing. Dropped, as by a `break`, it stops pulling and waiting."""

    def __init__(
        self, source: Requests, callbacks: Callbacks, *, outstanding: int | None, timeout: float | None
    ) -> None:
        self._run: _Run | None = None
        self._begin: Callable[[], _Run] = lambda: _Run(source, callbacks, outstanding or OUTSTANDING, timeout)
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        """The next outcome. One row's error never ends it; what the caller's own iterable raises comes last.

        Raises:
            OmniError: After the others, where the key is refused or the account has nothing left, and not all was sent.
        """
        if self._over:
            raise StopAsyncIteration
        self._run = self._run or self._begin()
        outcome = await self._run.next()
        if outcome is None:
            failure = self._run.failure
            await self.aclose()
            raise StopAsyncIteration if failure is None else failure
        return outcome

    async def aclose(self) -> None:
        """Stop pulling and waiting; what was submitted goes on at the gateway. Whoever waits learns that it is over."""
        self._over = True
        if self._run is not None:
            stopped = self._run.stop()
            self._run.arrived.set()
            if stopped:
                await asyncio.wait(stopped)

    def __repr__(self) -> str:
        """`idle` until an outcome is asked for, `over` at the end, else how many rows are under way and ready."""
        if self._over or self._run is None:
            return f"<Many {'over' if self._over else 'idle'}>"
        return f"<Many open, {self._run.standing()}>"

    def __del__(self) -> None:
        """Dropped: stop. What is dropped in a cycle may be collected by any thread."""
        self._over = True
        if self._run is None:
            return
        if self._run.loop.is_closed() or running_loop() is self._run.loop:
            self._run.stop()
        else:
            self._run.loop.call_soon_threadsafe(self._run.stop)
