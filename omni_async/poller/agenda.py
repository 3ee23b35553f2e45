"""One heap, one timer, lazy deletion: what is due when, handed to whoever works.

An entry is put anew rather than moved; the old one is passed over when its time comes, because the item is no longer
due then. Nothing is allocated for a worker that finds something ready.

The heap is ordered by when an item is due at the latest. Then everything goes that may: a request by itself costs twice
the CPU time of one among others, since it wakes a process whose caches are cold.
"""

import asyncio
import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Item(Protocol):
    """What can be put on the agenda."""

    due: float
    busy: bool
    """Whether it is being worked on, or waits for a worker."""


T = TypeVar("T", bound=Item)

GRAIN = 0.01
"""Seconds between two ticks at least: what falls due in between goes out together, for fewer turns of the loop.

As long as a pace catches up (`limiter.pace.SLACK`), so that all of it may go at once.
"""
TOGETHER = 16
"""Items that are worth waiting for: where more fall due within the slack, less of it is taken."""
LEAST = 0.02
"""Part of the slack that is always taken: from nothing it would not grow back."""
AT_ONCE = 1000
"""Items dealt with before others on the loop have their turn."""


class Agenda(Generic[T]):
    """Items by the time they are due.

    Args:
        wanted: Asked when an item falls due; one that is not wanted is dropped.
    """

    def __init__(self, wanted: Callable[[T], bool]) -> None:
        self._wanted = wanted
        self._heap: list[tuple[float, int, float, T]] = []  # at the latest, sequence, due, item
        self._sequence = itertools.count()
        self._ready: deque[T] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._timer: asyncio.Handle | None = None
        self._rests_until = -math.inf
        self._patience = 1.0  # part of the slack that is taken
        self._timer_due = math.inf  # not `when()`: what uvloop gives for a moment that is near has none

    def put(self, item: T, due: float, *, slack: float = 0.0) -> None:
        """The item is due then, and no more when it was before; `slack` seconds later is soon enough."""
        item.due = due
        latest = due + slack * self._patience
        heapq.heappush(self._heap, (latest, next(self._sequence), due, item))
        if self._timer is None or max(latest, self._rests_until) < self._timer_due:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer_due = max(self._heap[0][0], self._rests_until)
            self._timer = asyncio.get_running_loop().call_at(self._timer_due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        self._rests_until = now + GRAIN
        taken = 0
        while taken < AT_ONCE:  # a hundred thousand that fall due together must not hold up the loop
            if not self._heap or self._heap[0][2] > now:
                break
            _, _, due, item = heapq.heappop(self._heap)
            taken += 1
            if due == item.due and not item.busy and self._wanted(item):
                item.busy = True
                self._ready.append(item)
                self._wake_one()
        self._patience = min(max(self._patience * (1.1 if taken < TOGETHER else 0.8), LEAST), 1.0)
        self._arm()

    def _wake_one(self) -> None:
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                return

    def pop(self) -> T | None:
        """The item that has been due longest and is not taken, if there is one."""
        return self._ready.popleft() if self._ready else None

    async def take(self) -> T:
        """The item that has been due longest and is not taken; waits until there is one."""
        while not self._ready:
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
        return self._ready.popleft()

    def clear(self) -> None:
        """Nothing is due any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for *_, item in self._heap:
            item.due = math.inf
        self._heap.clear()
        self._ready.clear()
        self._idle.clear()
