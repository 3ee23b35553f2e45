"""Iterators over what happens to tasks: the changes of one, the ends of many.

No scope spans a yield: they are objects with `__anext__` and `aclose()`.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

import anyio

from ..arguments import TaskOrId, id_of
from ..errors import OmniError, WaitTimeoutError
from ..lifetime import loop_time, put_off, running_loop
from ..models import VideoTask
from .agenda import AT_ONCE
from .poller import Poller
from .waiting import deadline_after, timed_out


class Inbox:
    """Collects what happens to ids until somebody asks; several may, and each item goes to one of them."""

    every = True

    def __init__(self, deadline: float) -> None:
        self.deadline, self.caught_up = deadline, False
        self.items: deque[VideoTask | tuple[str, OmniError]] = deque()
        self._news = asyncio.Event()
        self._over = False

    def changed(self, task: VideoTask) -> None:
        """The poller: the task changed."""
        self._put(task)

    def failed(self, task_id: str, error: OmniError) -> None:
        """The poller: the task cannot be followed."""
        self._put((task_id, error))

    def _put(self, item: "VideoTask | tuple[str, OmniError]") -> None:
        self.items.append(item)
        self._news.set()

    def end(self) -> None:
        """Nothing is given out any more, and whoever waits is told so."""
        self._over = True
        self.items.clear()
        self._news.set()

    async def next(self) -> "VideoTask | tuple[str, OmniError] | None":
        """The next item, or None at the deadline or the end."""
        while not (self.items or self._over):
            due, in_time = self.deadline, loop_time() < self.deadline
            if await self._arrival(due):
                continue
            if in_time and due == self.deadline:
                put_off([self])
            if self.deadline <= loop_time():
                break
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
        return self._over or (last is not None and (not isinstance(last, VideoTask) or last.status.finished))

    async def _arrival(self, until: float) -> bool:
        """Wait for news; False if there was none until then."""
        self._news.clear()
        try:
            async with asyncio.timeout_at(None if until == math.inf else until):
                return await self._news.wait()
        except TimeoutError:
            return False


class FinishedInbox(Inbox):
    """An inbox that only finished tasks enter."""

    every = False


class Following:
    """An iterator over what the poller tells of some ids; dropped, as by a `break`, it lets go of them.

    One that ends by a timeout or an error around its loop may be kept alive by that: `contextlib.aclosing` ends it.

    Args:
        poller: Follows.
    """

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._inbox: Inbox | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began = 0.0
        self._over = False
        self._open: dict[str, Any] = {}
        """What is known of the ids that it waits for."""
        self._ready: deque[Any] = deque()
        """What can be given at once."""

    def __aiter__(self) -> Self:
        return self

    def _begun(self, inbox: Inbox) -> Inbox:
        self._inbox, self._loop = inbox, asyncio.get_running_loop()
        return inbox

    def _let_go(self) -> None:
        self._over = True
        ids, self._open = list(self._open), {}
        if self._inbox is not None:
            _let_go(self._poller, self._inbox, ids)
            self._inbox.end()

    async def aclose(self) -> None:
        """Let go; the tasks go on at the gateway. Whoever waits for an item is told that it is over."""
        self._ready.clear()
        self._let_go()

    def _timed_out(self, task_id: str, task: VideoTask | None) -> WaitTimeoutError:
        """The error of an id whose end was not seen in time."""
        poller, waited = self._poller, loop_time() - self._began
        return timed_out(task_id, task, waited, gateway=poller.gateway, missed=poller.missed(task_id))

    def __repr__(self) -> str:
        """`idle` until an item is asked for, `open`, or `over`; and how much is to come, as far as that is known."""
        ready, begun = len(self._ready), self._inbox is not None
        left = f", {len(self._open)} waiting, {ready} ready" if self._open or ready else ""
        state = "idle" if not (begun or self._over) else "open" if left else "over"
        return f"<{type(self).__name__} {state}{left}>"

    def __del__(self) -> None:
        """Dropped. What is dropped in a cycle may be collected by any thread."""
        loop, inbox = self._loop, self._inbox
        if loop is None or inbox is None:
            return
        if loop.is_closed() or running_loop() is loop:
            _let_go(self._poller, inbox, self._open)
        else:
            loop.call_soon_threadsafe(_let_go, self._poller, inbox, list(self._open))


def _let_go(poller: Poller, inbox: Inbox, ids: Iterable[str]) -> None:
    for task_id in ids:
        poller.let_go(task_id, inbox)


class Watch(Following):
    """Async iterator over the changes of one task; a finished task, also a failed one, is its last item.

    What it raises, it raises in `told`, which may add to it.
    """

    def __init__(
        self,
        poller: Poller,
        task: TaskOrId,
        *,
        min_interval: float,
        timeout: float | None,
        told: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        super().__init__(poller)
        self._told = told
        self._task_id, self._origin = id_of(task), task if isinstance(task, VideoTask) else None
        self._min_interval = min_interval
        self._timeout = timeout
        self._last: VideoTask | None = None
        self._given_at = -math.inf

    async def __anext__(self) -> VideoTask:
        """The next change.

        Raises:
            WaitTimeoutError: `timeout` seconds after the first item was asked for.
            OmniError: The id cannot be followed.
        """
        if self._over:
            raise StopAsyncIteration
        if self._origin is not None and self._origin.status.finished:
            self._over, self._last = True, self._origin
            return self._origin
        inbox = self._inbox or self._begin()
        resumes = min(self._given_at + self._min_interval, inbox.deadline)
        await inbox.rest(resumes)
        item = await inbox.next()
        if item is None and self._over:  # closed meanwhile, or another consumer had the last one
            raise StopAsyncIteration
        while isinstance(item, VideoTask) and inbox.items and self._min_interval > 0:
            item = inbox.items.popleft()  # what changed meanwhile is told as one change
        self._given_at = anyio.current_time()
        if isinstance(item, VideoTask):
            self._last = item
            if item.status.finished:
                self._let_go()
            return item
        error = self._timed_out(self._task_id, self._last) if item is None else item[1]
        self._let_go()
        async with self._told():
            raise error

    def _begin(self) -> Inbox:
        self._began = anyio.current_time()
        inbox = self._begun(Inbox(deadline_after(self._timeout)))
        self._open = {self._task_id: self._origin}
        self._poller.follow(self._task_id, inbox, origin=self._origin)
        return inbox

    def __repr__(self) -> str:
        """Of which task, `idle`, `open` or `over` as others, and what was told last."""
        state = "over" if self._over else "open" if self._inbox is not None else "idle"
        seen = f"last told {self._last.status}" if self._last is not None else "nothing told"
        return f"<Watch {self._task_id} {state}, {seen}>"


class Completed(Following):
    """Async iterator over finished tasks in order of finishing; what could not be followed is raised at the end."""

    def __init__(self, poller: Poller, tasks: Iterable[TaskOrId], *, timeout: float | None) -> None:
        super().__init__(poller)
        for task in tasks:
            task_id, known = id_of(task), task if isinstance(task, VideoTask) else None
            earlier = self._open.get(task_id)
            self._open[task_id] = earlier if known is None or (earlier and earlier.status.finished) else known
        self._ready.extend(one for one in self._open.values() if one and one.status.finished)
        for task in self._ready:
            del self._open[task.task_id]
        self._unfollowed: deque[str] = deque()
        self._errors: list[OmniError] = []
        self._timeout = timeout

    async def __anext__(self) -> VideoTask:
        """The next finished task.

        Raises:
            OmniError: After the others, for an id that could not be followed; several as an `ExceptionGroup`.
        """
        if self._ready:
            return self._ready.popleft()  # type: ignore[no-any-return]
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
            if not self._open:
                self._let_go()  # other consumers wait for nothing more
            if isinstance(item, VideoTask):
                return item
            self._errors.append(item[1])
        errors, self._errors = self._errors, []
        if len(errors) > 1:
            raise ExceptionGroup(f"{len(errors)} tasks could not be followed to their end", errors)
        if errors:
            raise errors[0]
        raise StopAsyncIteration

    def _begin(self) -> Inbox:
        self._began = anyio.current_time()
        self._unfollowed = deque(self._open)
        return self._begun(FinishedInbox(deadline_after(self._timeout)))

    async def _follow_some(self, inbox: Inbox) -> None:
        """Register interest; in a hundred thousand ids it must not hold up the loop."""
        for _ in range(min(len(self._unfollowed), AT_ONCE)):
            task_id = self._unfollowed.popleft()
            self._poller.follow(task_id, inbox, origin=self._open[task_id])
        if self._unfollowed:
            await anyio.lowlevel.checkpoint()

    def _give_up(self) -> None:
        self._errors += [self._timed_out(task_id, task) for task_id, task in self._open.items()]
        self._let_go()

    async def aclose(self) -> None:
        """Let go; the tasks go on at the gateway. Whoever waits for one is told that it is over."""
        self._errors.clear()
        await super().aclose()

    def _let_go(self) -> None:
        self._unfollowed = deque()
        super()._let_go()
