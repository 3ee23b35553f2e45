"""What waits at the poller: one call for one id, an iterator over its changes, an iterator over many ids.

No scope spans a yield: the iterators are objects with `__anext__` and `aclose()`, and one that is dropped lets go of
its ids by itself.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import Any, Self

import anyio
import anyio.lowlevel

from ..dialects import explain, scrubbed
from ..dialects.wire import ident
from ..errors import Fault, OmniError, TaskFailedError, WaitTimeoutError, unusable
from ..explanations import glossed
from ..models import VideoTask
from .agenda import AT_ONCE
from .poller import Poller

Handle = VideoTask | str

SAME_GATEWAY = frozenset({"gemini_omni", "toapis"})
"""Two shapes of one gateway: each can follow the other's tasks (docs)."""


def id_of(task: Handle) -> str:
    """The task id of what a waiting call was given.

    Raises:
        InvalidRequestError: Neither a task nor a text.
    """
    task_id = task.task_id if isinstance(task, VideoTask) else task
    if not ident(task_id):
        raise unusable(Fault("task_id", "neither a VideoTask nor a task id"), may_have_charged=True)
    return task_id


def own(task: Handle, gateway: str) -> VideoTask | None:
    """The task that was given, if it was one and not just its id.

    Raises:
        InvalidRequestError: No task id, or a task of another gateway.
    """
    task_id = id_of(task)
    if not isinstance(task, VideoTask):
        return None
    if task.gateway and task.gateway != gateway and not {task.gateway, gateway} <= SAME_GATEWAY:
        fault = Fault("task", f"it runs at gateway {task.gateway}, and this client speaks to {gateway}")
        raise unusable(fault, task_id=task_id, may_have_charged=True)
    return task


def deadline_after(timeout: float | None) -> float:
    """Loop time so many seconds from now; None is for ever."""
    return math.inf if timeout is None else anyio.current_time() + timeout


def check_seconds(**given: Any) -> Iterator[Fault]:
    """Faults of what should be seconds or None, by the argument's name; past a create it is too late to find them."""
    for name, seconds in given.items():
        if seconds is not None and (not isinstance(seconds, Real) or math.isnan(seconds)):
            yield Fault(name, f"{seconds!r} is no number of seconds")


def check_iterable(name: str, given: Any, *, kinds: Any = Iterable) -> Iterator[Fault]:
    """A fault if it is one of what there should be many of: a text would be taken letter by letter, and each paid."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, kinds):
        yield Fault(name, f"a single {type(given).__name__}: put it into a list")


MANY = (Iterable, AsyncIterable)
"""Kinds of what gives many."""


def refuse_waiting(faults: Iterable[Fault]) -> None:
    """Raise what is wrong with the arguments of a wait; the tasks it is for may have been paid.

    Raises:
        InvalidRequestError: There is a fault.
    """
    if found := tuple(faults):
        raise unusable(*found, may_have_charged=True)


def timed_out(task_id: str, task: VideoTask | None, waited: float, *, gateway: str | None = None) -> WaitTimeoutError:
    """The error of a wait that ended before its task did."""
    stand = f"last seen {task.raw_status or task.status.value}" if task is not None else "never seen"
    return WaitTimeoutError(
        f"still running after {waited:.0f} s ({stand}): it is not lost, wait({task_id!r}) goes on waiting",
        task=task,
        waited=waited,
        task_id=task_id,
        gateway=gateway or (task.gateway if task else None),
        custom_id=task.custom_id if task else None,
        metadata=(task.metadata or None) if task else None,
    )


Moderated = Callable[[str | None, str | None], bool]
"""Whether an error's code and message say that the content was refused."""


def failure_of(task: VideoTask, *, moderated: Moderated, private: tuple[str, ...] = ()) -> TaskFailedError:
    """The error for a task that ended without a video.

    Args:
        task: The task.
        moderated: Tells why it has none.
        private: Texts, such as its prompt, that a gateway may quote and no message may show.
    """
    refused = moderated(task.error_code, task.error_message)
    said = f": {glossed(scrubbed(task.error_message, private))}" if task.error_message else ""
    otherwise = "change the prompt or references" if refused else "a new attempt is a new payment"
    advice = explain(said, task.raw) or otherwise
    return TaskFailedError(
        f"the gateway ended the task without a video ({task.status}){said} — {advice}",
        task=task,
        moderated=refused,
        retryable=not refused,
        gateway=task.gateway,
        task_id=task.task_id,
        custom_id=task.custom_id,
        request_id=task.request_id,
        metadata=task.metadata or None,
    )


class _One:
    """Waits for the end of one id."""

    __slots__ = ("deadline", "future", "task")
    every = False

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.future: asyncio.Future[VideoTask] = asyncio.get_running_loop().create_future()
        self.task: VideoTask | None = None

    def changed(self, task: VideoTask) -> None:
        if task.status.finished:
            self.task = task
            if not self.future.done():
                self.future.set_result(task)

    def failed(self, task_id: str, error: OmniError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


async def wait_for(poller: Poller, task: Handle, timeout: float | None) -> VideoTask:
    """The finished task.

    Raises:
        WaitTimeoutError: `timeout` seconds are over.
        OmniError: The id cannot be followed.
    """
    began, task_id = anyio.current_time(), id_of(task)
    waiter = _One(deadline_after(timeout))
    poller.follow(task_id, waiter, origin=task if isinstance(task, VideoTask) else None)
    try:
        async with asyncio.timeout_at(None if waiter.deadline == math.inf else waiter.deadline):
            return await waiter.future
    except TimeoutError:
        if waiter.task is not None:  # in the same turn of the loop
            return waiter.task
    finally:
        known = poller.let_go(task_id, waiter)
    raise timed_out(task_id, known, anyio.current_time() - began, gateway=poller.gateway)


class _Inbox:
    """Collects what happens to ids until somebody asks."""

    every = True

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.items: deque[VideoTask | tuple[str, OmniError]] = deque()
        self.arrived: asyncio.Future[None] | None = None

    def changed(self, task: VideoTask) -> None:
        self._put(task)

    def failed(self, task_id: str, error: OmniError) -> None:
        self._put((task_id, error))

    def _put(self, item: "VideoTask | tuple[str, OmniError]") -> None:
        self.items.append(item)
        if self.arrived is not None and not self.arrived.done():
            self.arrived.set_result(None)

    async def next(self) -> "VideoTask | tuple[str, OmniError] | None":
        """The next item, or None at the deadline."""
        if not self.items:
            await self._arrival(self.deadline)
        return self.items.popleft() if self.items else None

    async def rest(self, until: float) -> None:
        """Let items gather until a moment of the loop's time, or until there is an end among them."""
        await anyio.lowlevel.checkpoint()
        while not self._ended and anyio.current_time() < until:
            await self._arrival(until)

    @property
    def _ended(self) -> bool:
        """Whether nothing follows what is here."""
        last = self.items[-1] if self.items else None
        return last is not None and (not isinstance(last, VideoTask) or last.status.finished)

    async def _arrival(self, until: float) -> None:
        self.arrived = asyncio.get_running_loop().create_future()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if until == math.inf else until):
                    await self.arrived
        finally:
            self.arrived = None


class FinishedInbox(_Inbox):
    """An inbox that only finished tasks enter."""

    every = False


class Watch:
    """Async iterator over the changes of one task; a finished task, also a failed one, is its last item."""

    def __init__(self, poller: Poller, task: Handle, *, min_interval: float, timeout: float | None) -> None:
        self._poller = poller
        self._task_id, self._origin = id_of(task), task if isinstance(task, VideoTask) else None
        self._min_interval = min_interval
        self._timeout = timeout
        self._inbox: _Inbox | None = None
        self._last: VideoTask | None = None
        self._given_at = -math.inf
        self._began = 0.0
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> VideoTask:
        """The next change.

        Raises:
            WaitTimeoutError: `timeout` seconds after the first item was asked for.
            OmniError: The id cannot be followed.
        """
        if self._over:
            raise StopAsyncIteration
        if self._origin is not None and self._origin.status.finished:
            self._over = True
            return self._origin
        inbox = self._inbox or self._begin()
        resumes = min(self._given_at + self._min_interval, inbox.deadline)
        await inbox.rest(resumes)
        item = await inbox.next()
        while isinstance(item, VideoTask) and inbox.items and self._min_interval > 0:
            item = inbox.items.popleft()  # what changed meanwhile is told as one change
        self._given_at = anyio.current_time()
        if isinstance(item, VideoTask):
            self._last = item
            if item.status.finished:
                self._end()
            return item
        self._end()
        if item is None:
            waited = anyio.current_time() - self._began
            raise timed_out(self._task_id, self._last, waited, gateway=self._poller.gateway)
        raise item[1]

    def _begin(self) -> _Inbox:
        self._began = anyio.current_time()
        self._inbox = _Inbox(deadline_after(self._timeout))
        self._poller.follow(self._task_id, self._inbox, origin=self._origin)
        return self._inbox

    def _end(self) -> None:
        self._over = True
        if self._inbox is not None:
            self._poller.let_go(self._task_id, self._inbox)

    async def aclose(self) -> None:
        """Let go of the task; it goes on at the gateway."""
        self._end()

    def __del__(self) -> None:
        """Dropped, as by a `break`: let go."""
        self._end()


class Completed:
    """Async iterator over finished tasks in order of finishing; what could not be followed is raised at the end."""

    def __init__(self, poller: Poller, tasks: Iterable[Handle], *, timeout: float | None) -> None:
        self._inbox: FinishedInbox | None = None
        self._poller = poller
        self._open: dict[str, VideoTask | None] = {}
        for task in tasks:
            task_id, known = id_of(task), task if isinstance(task, VideoTask) else None
            earlier = self._open.get(task_id)
            self._open[task_id] = earlier if known is None or (earlier and earlier.status.finished) else known
        self._done = deque(task for task in self._open.values() if task and task.status.finished)
        for task in self._done:
            del self._open[task.task_id]
        self._unfollowed: deque[str] = deque()
        self._errors: list[OmniError] = []
        self._timeout = timeout
        self._began = 0.0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> VideoTask:
        """The next finished task.

        Raises:
            OmniError: After the others, for an id that could not be followed; several as an `ExceptionGroup`.
        """
        if self._done:
            return self._done.popleft()
        inbox = self._inbox or self._begin()
        while self._unfollowed:
            await self._follow_some(inbox)
        while self._open:
            item = await inbox.next()
            if item is None:
                self._give_up()
                break
            task_id = item.task_id if isinstance(item, VideoTask) else item[0]
            self._open.pop(task_id, None)
            if isinstance(item, VideoTask):
                return item
            self._errors.append(item[1])
        errors, self._errors = self._errors, []
        if len(errors) > 1:
            raise ExceptionGroup(f"{len(errors)} tasks could not be followed to their end", errors)
        if errors:
            raise errors[0]
        raise StopAsyncIteration

    def _begin(self) -> FinishedInbox:
        self._began = anyio.current_time()
        self._inbox = FinishedInbox(deadline_after(self._timeout))
        self._unfollowed = deque(self._open)
        return self._inbox

    async def _follow_some(self, inbox: FinishedInbox) -> None:
        """Register interest; in a hundred thousand ids it must not hold up the loop."""
        for _ in range(min(len(self._unfollowed), AT_ONCE)):
            task_id = self._unfollowed.popleft()
            self._poller.follow(task_id, inbox, origin=self._open[task_id])
        if self._unfollowed:
            await anyio.lowlevel.checkpoint()

    def _give_up(self) -> None:
        waited = anyio.current_time() - self._began
        gateway = self._poller.gateway
        self._errors += [timed_out(task_id, task, waited, gateway=gateway) for task_id, task in self._open.items()]
        self._let_go()

    def _let_go(self) -> None:
        if self._inbox is not None:
            for task_id in self._open:
                self._poller.let_go(task_id, self._inbox)
        self._open = {}
        self._unfollowed.clear()

    async def aclose(self) -> None:
        """Let go of all ids; the tasks go on at the gateway."""
        self._let_go()

    def __del__(self) -> None:
        """Dropped, as by a `break`: let go."""
        self._let_go()
