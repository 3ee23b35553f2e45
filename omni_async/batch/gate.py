"""Whether a batch may send the next create: held for a while, or closed for the rest of the run."""

import asyncio
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable

import anyio

from ..breaker import Breaker
from ..errors import OmniError

SHARE = 0.5
"""Share of the time left to the soonest expiry that may be taken up by videos waiting to be fetched (DESIGN §6)."""
LATELY = 20
"""Videos whose fetching tells how long the next ones will take."""


class NotAdmittedError(OmniError):
    """Nothing is sent any more in this run; this row was not."""


class Gate:
    """Open, held by named reasons that pass, or closed by the first reason that does not."""

    def __init__(self) -> None:
        self.closed: str | None = None
        self.shut = asyncio.Event()
        """Set when it is closed."""
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
            self.notify()

    def close(self, why: str) -> None:
        """Let nothing through any more."""
        if self.closed is None:
            self.closed = why
            self.shut.set()
            self.notify()

    def bars(self, *, despite: str = "") -> bool:
        """Whether it is closed, or held by another reason than `despite`."""
        return self.closed is not None or any(name != despite for name in self._held)

    async def opened(self, *, despite: str = "") -> bool:
        """Wait until creates may be sent; False when none will be."""
        while self.closed is None and self.bars(despite=despite):
            await self.changed()
        return self.closed is None

    def notify(self) -> None:
        """Something changed: whoever waits looks again."""
        self._changed.set()

    async def changed(self) -> None:
        """Wait until something changes."""
        self._changed.clear()
        await self._changed.wait()


class Leave(Breaker):
    """A run's breaker that minds its gate, too: a row may wait long for a slot, and the gate close meanwhile.

    Args:
        gate: Of the run.
        despite: The reason that does not hold those who try whether it has passed.
    """

    __slots__ = ("_despite", "_gate")

    appoints = True

    def __init__(self, gate: Gate, *, despite: str) -> None:
        super().__init__()
        self._gate, self._despite = gate, despite

    @property
    def holds(self) -> bool:
        """Whether a create has to `wait`."""
        return self._gate.bars(despite=self._despite) or super().holds

    async def wait(self) -> None:
        """Wait until a create may be thought of.

        Raises:
            NotAdmittedError: None may any more.
        """
        await self._gate.opened(despite=self._despite)
        await super().wait()
        if self._gate.closed is not None:
            raise NotAdmittedError(self._gate.closed, may_have_charged=False)

    def lets_go(self) -> bool:
        """Whether one may be sent now."""
        return not self._gate.bars(despite=self._despite) and super().lets_go()


class Backlog:
    """How long the videos that wait to be fetched will take, by how long the last ones took.

    Args:
        at_once: Videos that are fetched at the same time.
        wall: Wall time, in seconds since 1970: expiries are the gateway's.
    """

    def __init__(self, at_once: int, wall: Callable[[], float] = time.time) -> None:
        self._at_once, self._wall = at_once, wall
        self._begun: dict[str, float] = {}
        self._took: deque[float] = deque(maxlen=LATELY)

    def begins(self, key: str) -> None:
        """A video is being fetched, for the first time or once more."""
        self._begun.setdefault(key, anyio.current_time())

    def ends(self, key: str, *, counts: bool = True) -> None:
        """It is on disk, or given up; or it rests, and `counts` no more: that tells nothing of how long others take."""
        begun = self._begun.pop(key, None)
        if counts and begun is not None:
            self._took.append(anyio.current_time() - begun)

    def too_long(self, waiting: int, soonest: float) -> bool:
        """Whether `waiting` videos would take more than half of what is left until the soonest expiry."""
        return bool(waiting) and waiting / self._at_once * self._typical() > SHARE * max(soonest - self._wall(), 0.0)

    def outlasts(self, seconds: float, expiries: Iterable[float]) -> bool:
        """Whether that is more than half of what is left until the soonest expiry that is still to come."""
        now = self._wall()
        return seconds > SHARE * (min((expiry for expiry in expiries if expiry > now), default=math.inf) - now)

    def _typical(self) -> float:
        """Seconds a video takes; one that is under way counts once it has taken longer than the others."""
        now, usual = anyio.current_time(), statistics.median(self._took) if self._took else 0.0
        slow = [now - begun for begun in self._begun.values() if now - begun > usual]
        samples = [*self._took, *slow]
        return statistics.mean(samples) if samples else 0.0
