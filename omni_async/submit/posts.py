"""Paid POSTs in flight. The client owns them: each goes on to its recorded end when its caller is cancelled."""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ..errors import OmniError
from ..lifetime import to_the_end
from ..models import Outcome, VideoRequest
from .creates import Attempt

logger = logging.getLogger("omni_async")

Told = asyncio.Future[Attempt]
"""What the caller of a POST waits for. It is cancelled with him; the POST is not."""


KEPT = 10_000
"""Unclaimed outcomes kept: a web app whose visitors leave while it pays has more of them every day."""


NAMED = 20
"""Task ids that one line of the log names at most."""


class Posts:
    """The POSTs of one client.

    Attributes:
        running: Those in flight.
        unclaimed: What came of those whose caller had gone: a task that runs, or an error that may have charged; the
            last `KEPT` of them.
    """

    def __init__(self) -> None:
        self.running: set[asyncio.Task[Attempt]] = set()
        self.unclaimed: deque[Outcome] = deque(maxlen=KEPT)

    async def own(
        self,
        make: Callable[[Told], Coroutine[Any, Any, Attempt]],
        request: VideoRequest,
        *,
        never: Callable[[], None] = lambda: None,
    ) -> Attempt:
        """Make one POST in a task of the client's, in an empty context, and wait for what it comes to.

        Args:
            make: Makes it; what it is given is cancelled once nobody waits for it.
            request: What it is for.
            never: Called instead of `make` if somebody cancels the task before it begins.
        """
        loop = asyncio.get_running_loop()
        told: Told = loop.create_future()
        course = _Course(make, told)
        post = loop.create_task(course.run(), context=contextvars.Context())
        self.running.add(post)
        post.add_done_callback(lambda ended: self._over(ended, course, request, never))
        try:
            return await told
        except asyncio.CancelledError:
            if not (told.cancel() or told.cancelled()):  # it ended in the very turn in which its caller went
                self._orphaned(told, request)
            raise

    def _over(
        self, post: "asyncio.Task[Attempt]", course: "_Course", request: VideoRequest, never: Callable[[], None]
    ) -> None:
        self.running.discard(post)
        self._ended(course.known(post), course.told, request)
        if not course.begun:
            never()

    def _ended(self, post: "asyncio.Future[Attempt]", told: Told, request: VideoRequest) -> None:
        if told.cancelled():
            self._orphaned(post, request)
        elif post.cancelled():
            told.cancel()
        elif (failure := post.exception()) is not None:
            told.set_exception(failure)
        else:
            told.set_result(post.result())

    def _orphaned(self, ended: "asyncio.Future[Attempt]", request: VideoRequest) -> None:
        """A POST ended whose caller had gone."""
        if ended.cancelled():
            return
        failure = ended.exception()
        attempt = ended.result() if failure is None else Attempt(error=_as_omni(failure))
        harmless = attempt.error is not None and not attempt.error.may_have_charged
        if attempt.hold is not None or (attempt.task is None and harmless):
            return
        self.keep(attempt, request)

    def keep(self, attempt: Attempt, request: VideoRequest) -> None:
        """What a POST came to reaches nobody: it is kept for `unclaimed()`, and logged with its task id."""
        self.unclaimed.append(Outcome(request=request, task=attempt.task, error=attempt.error))
        what = f"task {attempt.task.task_id} runs" if attempt.task else "it may have been charged"
        logger.warning("a create finished after its caller had gone: %s; see client.unclaimed()", what)

    def left(self, outcomes: Iterable[Outcome]) -> None:
        """Whoever waited for these has gone: what may have been charged is kept in the same way."""
        found = [one for one in outcomes if one.task is not None or (one.error and one.error.may_have_charged)]
        if not found:
            return
        self.unclaimed.extend(found)
        ids = [one.task.task_id for one in found if one.task is not None]
        named = ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")
        what = "a paid video" if len(found) == 1 else f"{len(found)} paid videos"
        logger.warning("whoever waited for %s has gone: %s; see client.unclaimed()", what, named or "no task id")

    async def drain(self) -> None:
        """Wait until each has its recorded end. Cancelled meanwhile, it goes on, and raises then."""
        while running := [post for post in self.running if not post.done()]:
            await to_the_end(*running)


class _Course:
    """How far one POST came: its task may be cancelled before its first turn, and in its last."""

    def __init__(self, make: Callable[[Told], Coroutine[Any, Any, Attempt]], told: Told) -> None:
        self._make, self.told = make, told
        self.begun = False
        self._came: Attempt | None = None

    async def run(self) -> Attempt:
        self.begun = True
        self._came = await self._make(self.told)
        return self._came

    def known(self, post: "asyncio.Task[Attempt]") -> "asyncio.Future[Attempt]":
        """The POST that has ended; by what it came to, if a consumer of its last event cancelled it."""
        if not post.cancelled() or self._came is None:
            return post
        known: Told = post.get_loop().create_future()
        known.set_result(self._came)
        return known


def _as_omni(error: BaseException) -> OmniError:
    return error if isinstance(error, OmniError) else OmniError(f"the create ended in {type(error).__name__}")
