"""Whether a batch may send the next create: held for a while, or closed for the rest of the run."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

SHARE = 0.5
"""Share of the time left to the soonest expiry that may be taken up by videos waiting to be fetched (DESIGN §6)."""
SEEN = 60.0
"""Seconds over which the speed of fetching is measured."""


class Gate:
    """Open, held by named reasons that pass, or closed by the first reason that does not."""

    def __init__(self) -> None:
        self.closed: str | None = None
        self._held: dict[str, str] = {}
        self._changed = asyncio.Event()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why no create is sent just now; empty if it is."""
        return (self.closed,) if self.closed else tuple(self._held.values())

    def hold(self, name: str, why: str) -> None:
        """Let nothing through until `release` is called with the same name."""
        self._held[name] = why

    def release(self, name: str) -> None:
        """One reason less."""
        if self._held.pop(name, None) is not None:
            self._wake()

    def close(self, why: str) -> None:
        """Let nothing through any more."""
        if self.closed is None:
            self.closed = why
            self._wake()

    async def opened(self) -> bool:
        """Wait until creates may be sent; False when none will be."""
        while self._held and self.closed is None:
            self._changed.clear()
            await self._changed.wait()
        return self.closed is None

    def _wake(self) -> None:
        self._changed.set()


class Backlog:
    """How long the videos that wait to be fetched will take, by the speed seen.

    Args:
        wall: Wall time, in seconds since 1970: expiries are the gateway's.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._stored: deque[float] = deque()

    def stored(self) -> None:
        """One more is on disk."""
        self._stored.append(self._wall())

    def too_long(self, waiting: int, soonest: float | None) -> bool:
        """Whether `waiting` videos would take more than half of what is left until the soonest expiry."""
        now = self._wall()
        while self._stored and self._stored[0] < now - SEEN:
            self._stored.popleft()
        if soonest is None or not waiting or len(self._stored) < 2:
            return False
        rate = (len(self._stored) - 1) / max(now - self._stored[0], 1e-3)
        return waiting / rate > SHARE * max(soonest - now, 0.0)
