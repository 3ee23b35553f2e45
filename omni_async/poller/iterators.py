"""Iterators over what happens to tasks: the changes of one, the ends of many.

No scope spans a yield: they are objects with `__anext__` and `aclose()`.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Iterable
from typing import Any, Self

import anyio
import anyio.lowlevel

from ..arguments import TaskOrId, id_of
from ..errors import OmniError, WaitTimeoutError
from ..lifetime import running_loop
from ..models import VideoTask
from .agenda import AT_ONCE
from .poller import Poller
from .waiting import deadline_after, timed_out


class Inbox:
    """Collects what happens to ids until somebody asks."""

    every = True

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.items: deque[VideoTask | tuple[str, OmniError]] = deque()
        self.arrived: asyncio.Future[None] | None = None

    def changed(self, task: VideoTask) -> None:
        """The poller: the task changed."""
        self._put(task)

    def failed(self, task_id: str, error: OmniError) -> None:
        """The poller: the task cannot be followed."""
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
        self._over = False
        self._open: dict[str, Any] = {}
        """What is known of the ids that it waits for."""

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

    async def aclose(self) -> None:
        """Let go; the tasks go on at the gateway."""
        self._let_go()

    def _at_hand(self) -> int:
        """How much of it can be given at once."""
        return 0

    def __repr__(self) -> str:
        """`idle` until an item is asked for, `open`, or `over`; and how much is to come, as far as that is known."""
        ready, begun = self._at_hand(), self._inbox is not None
        left = f", {len(self._open)} waiting, {ready} ready" if self._open or ready else ""
        state = "idle" if not (begun or self._over) else "open" if left else "over"
        return f"<{type(self).__name__} {state}{left}>"

    def __del__(self) -> None:
        """Dropped. What is dropped in a cycle may be collected by any thread."""
        loop = self._loop
        if loop is None or loop.is_closed() or running_loop() is loop:
            self._let_go()
        elif self._inbox is not None:
            loop.call_soon_threadsafe(_let_go, self._poller, self._inbox, list(self._open))


def _let_go(poller: Poller, inbox: Inbox, ids: Iterable[str]) -> None:
    for task_id in ids:
        poller.let_go(task_id, inbox)


class Watch(Following):
    """Async iterator over the changes of one task; a finished task, also a failed one, is its last item."""

    def __init__(self, poller: Poller, task: TaskOrId, *, min_interval: float, timeout: float | None) -> None:
        super().__init__(poller)
        self._task_id, self._origin = id_of(task), task if isinstance(task, VideoTask) else None
        self._min_interval = min_interval
        self._timeout = timeout
        self._last: VideoTask | None = None
        self._given_at = -math.inf
        self._began = 0.0

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
        while isinstance(item, VideoTask) and inbox.items and self._min_interval > 0:
            item = inbox.items.popleft()  # what changed meanwhile is told as one change
        self._given_at = anyio.current_time()
        if isinstance(item, VideoTask):
            self._last = item
            if item.status.finished:
                self._let_go()
            return item
        error = self._late() if item is None else item[1]
        self._let_go()
        raise error

    def _late(self) -> WaitTimeoutError:
        poller, waited = self._poller, anyio.current_time() - self._began
        missed = poller.missed(self._task_id)
        return timed_out(self._task_id, self._last, waited, gateway=poller.gateway, missed=missed)

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
        self._done: deque[VideoTask] = deque(one for one in self._open.values() if one and one.status.finished)
        for task in self._done:
            del self._open[task.task_id]
        self._unfollowed: deque[str] = deque()
        self._errors: list[OmniError] = []
        self._timeout = timeout
        self._began = 0.0

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
        waited = anyio.current_time() - self._began
        gateway, missed = self._poller.gateway, self._poller.missed
        self._errors += [
            timed_out(task_id, task, waited, gateway=gateway, missed=missed(task_id))
            for task_id, task in self._open.items()
        ]
        self._let_go()

    def _at_hand(self) -> int:
        return len(self._done) + len(self._errors)

    def _let_go(self) -> None:
        self._unfollowed = deque()
        super()._let_go()
