"""What waits at the poller for one task, and the errors that any wait may end with."""

import asyncio
import math
from collections.abc import Callable

import anyio

from ..arguments import TaskOrId, id_of
from ..dialects import scrubbed
from ..errors import OmniError, TaskFailedError, WaitTimeoutError
from ..explanations import WRONG_ROUTE, chat_was_called, glossed
from ..lifetime import loop_time, put_off
from ..models import VideoTask
from .poller import Poller


def deadline_after(timeout: float | None) -> float:
    """Loop time so many seconds from now; None is for ever. One in the past would pass for a loop that stood still."""
    return math.inf if timeout is None else anyio.current_time() + max(timeout, 0.0)


def timed_out(
    task_id: str,
    task: VideoTask | None,
    waited: float,
    *,
    gateway: str | None = None,
    missed: OmniError | None = None,
) -> WaitTimeoutError:
    """The error of a wait that ended before its task did.

    Args:
        task_id: Its id.
        task: What is known of it.
        waited: Seconds.
        gateway: Where it runs.
        missed: Why the last look told nothing, if it did not: the error's cause.
    """
    error = WaitTimeoutError(
        f"{_stand(task, waited, missed)}; wait({task_id!r}) goes on waiting",
        task=task,
        waited=waited,
        task_id=task_id,
        gateway=gateway or (task.gateway if task else None),
        custom_id=task.custom_id if task else None,
        metadata=task.metadata if task else None,
    )
    error.__cause__ = missed
    return error


def _stand(task: VideoTask | None, waited: float, missed: OmniError | None) -> str:
    """Where a task stands whose end was not seen in time. Nobody knows that it runs while no look tells so."""
    word = task.raw_status or task.status.value if task is not None else ""
    if missed is None:
        running = f"still running after {waited:.0f} s (last seen {word}), and not lost"
        return running if word else f"not seen for {waited:.0f} s"
    seen = f"last seen {word}, no end seen in" if task is not None and task.raw_status else "not seen for"
    return f"{seen} {waited:.0f} s: {missed.args[0]}"


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
    advice = WRONG_ROUTE.en if chat_was_called(said, task.raw) else otherwise
    return TaskFailedError(
        f"the gateway ended the task without a video ({task.status}){said} — {advice}",
        task=task,
        moderated=refused,
        retryable=not refused,
        gateway=task.gateway,
        task_id=task.task_id,
        custom_id=task.custom_id,
        request_id=task.request_id,
        metadata=task.metadata,
    )


class _One:
    """Waits for the end of one id."""

    __slots__ = ("caught_up", "deadline", "error", "future", "task")
    every = False

    def __init__(self, deadline: float) -> None:
        self.deadline, self.caught_up = deadline, False
        self.future: asyncio.Future[VideoTask] = asyncio.get_running_loop().create_future()
        self.task: VideoTask | None = None
        self.error: OmniError | None = None

    def changed(self, task: VideoTask) -> None:
        if task.status.finished:
            self.task = task
            if not self.future.done():
                self.future.set_result(task)

    def failed(self, task_id: str, error: OmniError) -> None:
        self.error = error
        if not self.future.done():
            self.future.set_exception(error)

    async def end(self) -> VideoTask:
        """The finished task; TimeoutError once the deadline is over, OmniError if the id cannot be followed."""
        while True:
            try:
                async with asyncio.timeout_at(None if self.deadline == math.inf else self.deadline):
                    return await self.future
            except TimeoutError:
                pass
            if self.task is not None:  # told in the same turn of the loop, as is an error: it is not told again
                return self.task
            if self.error is not None:
                raise self.error
            put_off([self])
            if self.deadline <= loop_time():
                raise TimeoutError
            self.future = asyncio.get_running_loop().create_future()  # the timeout has cancelled the other


async def wait_for(poller: Poller, task: TaskOrId, timeout: float | None) -> VideoTask:
    """The finished task.

    Raises:
        WaitTimeoutError: `timeout` seconds are over.
        OmniError: The id cannot be followed.
    """
    began, task_id = anyio.current_time(), id_of(task)
    waiter = _One(deadline_after(timeout))
    poller.follow(task_id, waiter, origin=task if isinstance(task, VideoTask) else None)
    try:
        return await waiter.end()
    except TimeoutError:
        missed = poller.missed(task_id)
    finally:
        known = poller.let_go(task_id, waiter)
    raise timed_out(task_id, known, anyio.current_time() - began, gateway=poller.gateway, missed=missed)
