"""What an earlier run left unfinished, as it finishes: what `OmniClient.resume` gives."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from .. import journal as books
from ..errors import JournalError, OmniError
from ..lifetime import loop_time
from ..models import Outcome, VideoTask
from .iterators import FinishedInbox, Following
from .poller import Poller
from .waiting import deadline_after

if TYPE_CHECKING:  # loaded with the first client that keeps a journal's file
    from ..journal import Entry


class Leftovers(Protocol):
    """Rows of a journal that an earlier run left, its dead owners' taken over first."""

    async def uncertain(self) -> "list[Entry]":
        """Creates that may have been charged and have no id."""

    async def left_over(self) -> "list[Entry]":
        """The rest, each row once."""


class Resumed(Following):
    """Async iterator over what earlier runs left unfinished: uncertain rows first, then tasks as they finish.

    Args:
        leftovers: The journal's rows.
        poller: Follows.
        finished: Gives back a finished task with a video, or raises TaskFailedError.
        timeout: Seconds for the whole wait; None waits for ever. What is not finished then comes with its error.
    """

    def __init__(
        self,
        leftovers: Leftovers,
        poller: Poller,
        finished: Callable[[VideoTask], VideoTask],
        *,
        timeout: float | None = None,
    ) -> None:
        super().__init__(poller)
        self._leftovers, self._finished, self._timeout = leftovers, finished, timeout
        self._beginning = asyncio.Lock()

    async def __anext__(self) -> Outcome:
        """The next outcome; one task's error does not end it.

        Raises:
            JournalError: The journal cannot be read.
        """
        if self._inbox is None:
            async with self._beginning:
                await self._begin()
        while not self._ready and self._open and self._inbox is not None:
            item = await self._inbox.next()
            self._ready.extend(self._late() if item is None else [self._ended(item)])
            if not self._open:
                self._let_go()  # other consumers wait for nothing more
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()  # type: ignore[no-any-return]

    async def _begin(self) -> None:
        if self._inbox is not None:
            return  # another consumer has begun
        self._began, deadline = loop_time(), deadline_after(self._timeout)
        uncertain = await self._leftovers.uncertain()
        entries = await self._leftovers.left_over()
        if self._over:
            return  # closed meanwhile
        self._begun(FinishedInbox(deadline))
        self._each(uncertain, lambda entry: self._ready.append(_outcome(entry, None, books.uncertain_error(entry))))
        self._each(entries, self._take)

    def _each(self, entries: "Iterable[Entry]", take: "Callable[[Entry], None]") -> None:
        for entry in entries:
            try:
                take(entry)
            except JournalError as error:  # a damaged row is told of as one, and hides no other
                self._ready.append(Outcome(request=None, task=None, error=error))

    def _take(self, entry: "Entry") -> None:
        task = entry.video_task
        if task is not None and task.status.finished:
            self._ready.append(self._judged(entry, task))
        elif task is not None and self._inbox is not None:
            books.request_of(entry)  # a damaged one is told of now, and not when its task has ended
            self._open[task.task_id] = entry
            self._poller.follow(task.task_id, self._inbox, origin=task)

    def _ended(self, item: VideoTask | tuple[str, OmniError]) -> Outcome:
        if isinstance(item, VideoTask):
            return self._judged(self._open.pop(item.task_id), item)
        return _outcome(self._open.pop(item[0]), None, item[1])

    def _late(self) -> list[Outcome]:
        """What has not finished in time: given with the error of any wait, and followed on."""
        late = [(entry, self._timed_out(task_id, entry.video_task)) for task_id, entry in self._open.items()]
        self._let_go()
        return [_outcome(entry, None, error) for entry, error in late]

    def _judged(self, entry: "Entry", task: VideoTask) -> Outcome:
        try:
            return _outcome(entry, self._finished(task), None)
        except OmniError as error:
            return _outcome(entry, task, error)


def _outcome(entry: "Entry", task: VideoTask | None, error: OmniError | None) -> Outcome:
    return Outcome(request=books.request_of(entry), task=task or entry.video_task, error=error)
