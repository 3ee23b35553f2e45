"""A client's life: started by its first call, bound to that loop and process, ended once, to the end."""

import asyncio
import contextvars
import os
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

import anyio

from .errors import DownloadError, OmniError

T = TypeVar("T")

ELSEWHERE = (
    "make one per loop. From synchronous code, or where each request has a loop of its own, keep one loop in a thread "
    '(README: "From synchronous code")'
)
"""What to do about a client of another loop."""

HELD_UP, CATCH_UP = 1.0, 5.0
"""Seconds by which a timer is late where the loop stood still, as in a stopped process, a machine that slept or a
blocking call of the caller's; and for which what came meanwhile is read before anything is given up."""


class Lifetime:
    """Where and how long a client may be used.

    Args:
        gateway: For the errors.
        end: What ending it takes.
        begin: Called once, by the first call, with the loop running.
    """

    def __init__(
        self, gateway: str, end: Callable[[], Awaitable[None]], *, begin: Callable[[], None] | None = None
    ) -> None:
        self._gateway = gateway
        self._begin = begin
        self._end = end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._ending: asyncio.Future[None] | None = None
        self.closed = False

    def __del__(self) -> None:
        """Dropped, and nobody can end it any more: its tasks, connections and place at the journal are held on to."""
        if self.closed or self._loop is None or self._loop.is_closed() or self._forked():
            return
        told = f"a client of {self._gateway} was dropped without aclose(): until the loop ends it holds what it opened"
        warnings.warn(told, ResourceWarning, source=self, stacklevel=2)
        self._loop.call_exception_handler({"message": told})  # the warning alone is hidden by default

    @property
    def started(self) -> bool:
        """Whether a first call was made."""
        return self._loop is not None

    @property
    def state(self) -> str:
        """`idle` until the first call, then `open`, `closed` from `close` on."""
        return "closed" if self.closed else "open" if self.started else "idle"

    def enter(self) -> None:
        """Start with the first call; later ones must come from the same loop and process.

        Raises:
            OmniError: Closed, or called from elsewhere; nothing was sent.
        """
        if self.closed:
            raise self._error("this client is closed; make a new one")
        here = running_loop()
        if here is None and not self._forked():
            raise self._error("no event loop runs: call this from async code, under asyncio (trio is not spoken)")
        if self._loop is None:
            self._loop, self._pid = here, os.getpid()
            if self._begin is not None:
                self._begin()
        self._check(here)

    async def open(self, opening: Callable[[], Awaitable[None]]) -> None:
        """Start; if `opening` fails, everything is ended again."""
        self.enter()
        try:
            await opening()
        except BaseException:
            await self.close()
            raise

    def _forked(self) -> bool:
        return self._loop is not None and os.getpid() != self._pid

    def _check(self, here: asyncio.AbstractEventLoop | None) -> None:
        if self._forked():
            raise self._error("this client was started in another process; make one after the fork")
        if here is not self._loop:
            raise self._error(f"this client belongs to another event loop; {ELSEWHERE}")

    def _error(self, message: str) -> OmniError:
        return OmniError(message, gateway=self._gateway, may_have_charged=False)

    async def close(self) -> None:
        """End it, once and to the end: cancelled meanwhile, it goes on and raises `CancelledError` afterwards."""
        if self._loop is not None:
            self._check(running_loop())
        self.closed = True
        if self._loop is None:
            return
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        await to_the_end(self._ending)
        self._ending.result()


class Waits:
    """What callers wait for before they send; the end of the client ends it, so that nothing is sent afterwards.

    Args:
        gateway: For the errors.
    """

    def __init__(self, gateway: str | None = None) -> None:
        self._gateway = gateway
        self._scopes: dict[asyncio.Timeout, None] = {}  # ended in turn: who came first is found fastest in a queue
        self.ended = False

    async def until(self, wait: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        """What `wait` gives.

        Raises:
            OmniError: The client was closed first.
        """
        scope = asyncio.timeout(None)
        self._scopes[scope] = None
        try:
            if not self.ended:
                async with scope:
                    return await wait(*arguments, **options)
        except TimeoutError:
            if not self.ended:
                raise
        finally:
            self._scopes.pop(scope, None)
        raise OmniError("the client was closed: nothing was sent", gateway=self._gateway, may_have_charged=False)

    def end(self) -> None:
        """End all waits, also those to come."""
        self.ended = True
        scopes, self._scopes = self._scopes, {}
        for scope in scopes:
            scope.reschedule(0.0)


def cut_short() -> DownloadError:
    """The error for a download that the client's end cuts short."""
    return DownloadError("the client was closed: what is stored so far can be resumed by another")


def loop_time() -> float:
    """The running loop's time, in seconds; anyio would ask first which library runs."""
    return asyncio.get_running_loop().time()


class Timed(Protocol):
    """Something that waits until a moment of the loop's time, at most."""

    deadline: float
    caught_up: bool
    """Whether that was put off already."""


def put_off(waiting: Iterable[Timed]) -> bool:
    """Where the loop stood still when the first of these was over, all that are have a while longer, once.

    Args:
        waiting: The first deadline first.

    Returns:
        Whether any has: the first deadline need not come first any more.
    """
    now, held_up, any_has = loop_time(), False, False
    for one in waiting:
        held_up = held_up or now - one.deadline > HELD_UP
        if not held_up or one.deadline > now:
            break
        if not one.caught_up:
            one.deadline, one.caught_up, any_has = now + CATCH_UP, True, True
    return any_has


def is_cancelled() -> bool:
    """Whether it is this task that is cancelled, and not something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def background(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Begin work that outlives its caller: in a task of its own, and in an empty context."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


class Lasting(asyncio.Future[T]):
    """A future that ends as it would, however often whoever waits for it is cancelled: he hears of that afterwards.

    It spares what `asyncio.wait` or `asyncio.shield` make for each wait: a future more, its callbacks, their turns.
    """

    def cancel(self, msg: Any = None) -> bool:
        """Not cancelled; the task that waits is once this is done (`asyncio.Task.cancel` asks its future first)."""
        return False


async def outlasted(future: Lasting[T]) -> T:
    """What a future gives, however often this is cancelled meanwhile; `is_cancelled` tells of that afterwards."""
    while not future.done():
        try:
            return await future
        except asyncio.CancelledError:
            continue
    return future.result()


async def to_the_end(*tasks: "asyncio.Future[Any]") -> None:
    """Wait until all are done, however often this is cancelled meanwhile, and raise `CancelledError` afterwards."""
    cancelled: asyncio.CancelledError | None = None
    # The shield holds against anyio's scopes; a plain Task.cancel() goes through it and is caught.
    with anyio.CancelScope(shield=True):
        while not all(task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
