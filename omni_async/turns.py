"""Whose turn it is to be fetched: behind all others come the videos whose server fails, each after a rest.

        ┌───── next ◀── waiting ◀── add
fetched ◀┤                 ▲
        └─▶ put_off ──▶ resting      until it was tried long enough
"""

import asyncio
import contextlib
import heapq
import itertools
import math
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from .errors import OmniError
from .lifetime import loop_time
from .retry import pause_within

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds without progress for which a caller's download is tried while the server cannot be reached, or fails."""
PAUSE = 2.0
LONGEST_PAUSE = 60.0
"""Seconds between two tries of a video whose server fails, at most."""


@attrs.define(eq=False)
class Turn(Generic[T]):
    """A video's. Times are the loop's.

    Args:
        of: Whose video it is.
        rank: Among others: the least comes first.
        since: When its server was first found to fail; infinite if it may work.
        until: For how long it is tried then at least.
        tries: How often its server failed.
    """

    of: T
    rank: float = 0.0
    since: float = math.inf
    until: float = -math.inf
    tries: int = 0

    @property
    def late(self) -> bool:
        """Whether its server fails."""
        return self.tries > 0


class Turns(Generic[T]):
    """The turns of one run's videos.

    Args:
        until: Gives the loop's time until which a video whose server fails is tried.
    """

    def __init__(self, until: Callable[[Turn[T]], float]) -> None:
        self._until = until
        self._waiting: list[tuple[bool, float, int, Turn[T]]] = []
        self._resting: list[tuple[float, int, Turn[T]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self.late: dict[Turn[T], None] = {}
        """Those whose server fails, the first one first: resting, waiting once more, or being tried."""
        self.waiting = 0
        """How many others wait."""

    @property
    def first(self) -> float:
        """The least rank of those others."""
        return self._waiting[0][1] if self.waiting else math.inf

    @property
    def ends(self) -> float:
        """Until when the late ones are tried, if nothing changes."""
        return max(map(self._until, self.late), default=-math.inf)

    def add(self, turn: Turn[T]) -> None:
        """Its turn comes behind that of lower ranks, and of all that are not late if it is."""
        self.waiting += not turn.late
        heapq.heappush(self._waiting, (turn.late, turn.rank, next(self._order), turn))
        self._changed.set()

    async def next(self) -> Turn[T]:
        """Wait for the next turn."""
        while True:
            self.wake(loop_time())
            if self._waiting:
                turn = heapq.heappop(self._waiting)[-1]
                self.waiting -= not turn.late
                return turn
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._resting[0][0] if self._resting else None):
                    await self._changed.wait()

    def wake(self, now: float = math.inf) -> None:
        """Those have rested whose time has come by `now`; by default all."""
        while self._resting and self._resting[0][0] <= now:
            self.add(heapq.heappop(self._resting)[-1])

    def put_off(self, turn: Turn[T], error: OmniError) -> bool:
        """Have it rest, since its server fails; False if it was tried long enough: then its turn is over."""
        now = loop_time()
        turn.since, turn.tries = min(turn.since, now), turn.tries + 1
        asked: float = getattr(error, "retry_after", None) or 0.0
        grown = min(PAUSE * 2.0 ** min(turn.tries, 30), LONGEST_PAUSE)
        pause = pause_within(self._until(turn) - now, grown, asked)
        if pause is None:
            self.over(turn)
            return False
        self.late[turn] = None
        heapq.heappush(self._resting, (now + pause, next(self._order), turn))
        self._changed.set()
        return True

    def over(self, turn: Turn[T]) -> None:
        """It is stored, or given up."""
        self.late.pop(turn, None)
