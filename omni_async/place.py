"""A place for a file up or down: others have it while a server that fails is left alone."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from .errors import OmniError
from .lifetime import Waits
from .limiter import Kind, Limiter, Ticket

T = TypeVar("T")


class Place:
    """One of the places for files up or down.

    Args:
        limiter: Has them.
        waits: End with the client.
        closed: Makes the error for whoever waits then, if that of `waits` does not say what is left to be done.
    """

    __slots__ = ("_closed", "_limiter", "_ticket", "_waits")

    def __init__(self, limiter: Limiter, waits: Waits, closed: Callable[[], OmniError] | None = None) -> None:
        self._limiter, self._waits, self._closed = limiter, waits, closed
        self._ticket: Ticket | None = None

    async def take(self) -> None:
        """Wait for it.

        Raises:
            OmniError: The client was closed first.
        """
        self._ticket = await self._until(self._limiter.acquire, Kind.TRANSFER)

    def give_back(self) -> None:
        """Let another have it, if it is taken."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._limiter.unused(ticket)

    async def rest(self, seconds: float) -> None:
        """Let others have it for some seconds at least.

        Raises:
            OmniError: The client was closed first.
        """
        self.give_back()
        await self._until(anyio.sleep, seconds)
        await self.take()

    async def _until(self, wait: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        try:
            return await self._waits.until(wait, *arguments)
        except OmniError:
            if self._closed is None or not self._waits.ended:
                raise
            raise self._closed() from None
