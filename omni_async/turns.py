"""Whose turn it is to be fetched: behind all others come the videos whose server fails, each after a rest.

        ┌───── next ◀── waiting ◀── add
fetched ◀┤                 ▲
        └─▶ put_off ──▶ resting      until it was tried long enough (or to `rest` for another reason)

Of one server come first those that failed least often, and of these the least rank. A server from which nothing came in
the last few tries is behind all others, with its videos that were never tried, too, and is tried a few times at once.
"""

import asyncio
import contextlib
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import attrs

from .errors import OmniError
from .lifetime import loop_time
from .retry import pause_within

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds without progress for which a caller's download is tried while the server cannot be reached, or fails."""
PAUSE = 2.0
LONGEST_PAUSE = 60.0
"""Seconds between two tries of a video whose server fails, at most, but for thousands of them."""
SPACING = 0.1
"""Seconds between two tries of any of them, at least, on average."""
IN_VAIN = 3
"""Tries in a row with which nothing came: then it is the server that fails, not one video."""
DOUBTFUL = 4
"""Tries at once of such servers, at most: each can take long, and whoever comes meanwhile is not to wait for them."""


def server_of(url: str | None) -> str:
    """Host and port of a URL; nothing for what has none."""
    try:
        return urlsplit(url or "").netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


@attrs.define(eq=False)
class Turn(Generic[T]):
    """A video's. Times are the loop's.

    Args:
        of: Whose video it is.
        rank: Among others: the least comes first.
        server: Which one has it.
        since: When its server was first found to fail; infinite if it may work.
        until: For how long it is tried then at least.
        tries: How often its server failed.
        faults: How often it could not be had for another reason since then.
    """

    of: T
    rank: float = 0.0
    server: str = ""
    since: float = math.inf
    until: float = -math.inf
    tries: int = 0
    faults: int = 0

    @property
    def late(self) -> bool:
        """Whether its server fails."""
        return self.tries > 0


class Queue(Generic[T]):
    """Who waits, and whose turn it is. No clock.

    Args:
        most: Tries at once of servers that fail.
    """

    def __init__(self, most: int = DOUBTFUL) -> None:
        self._most = most
        self._waiting: dict[str, list[tuple[int, float, int, Turn[T]]]] = {}  # by server; none is empty
        self._in_vain: Counter[str] = Counter()
        self._asked: dict[str, int] = {}  # of those that fail
        self._doubtful: set[Turn[T]] = set()
        self._order = itertools.count()

    def add(self, turn: Turn[T]) -> None:
        """Its turn comes behind that of lower ranks, and of all that failed less often."""
        queue = self._waiting.setdefault(turn.server, [])
        heapq.heappush(queue, (turn.tries + turn.faults, turn.rank, next(self._order), turn))

    def take(self) -> Turn[T] | None:
        """Whose turn it is, if there may be one now; `ended` is to follow."""
        server = min(filter(self._may_try, self._waiting), key=self._place, default=None)
        if server is None:
            return None
        queue = self._waiting[server]
        turn = heapq.heappop(queue)[-1]
        if not queue:
            del self._waiting[server]
        if self.fails(server):
            self._asked[server] = next(self._order)
            self._doubtful.add(turn)
        return turn

    def fails(self, server: str) -> bool:
        """Whether nothing came from it in the last few tries."""
        return self._in_vain[server] >= IN_VAIN

    def _may_try(self, server: str) -> bool:
        return len(self._doubtful) < self._most or not self.fails(server)

    def _place(self, server: str) -> tuple[Any, ...]:
        """Servers that fail come last, and take turns, whoever of theirs has the least rank."""
        fails = self.fails(server)
        return fails, self._asked.get(server, 0) if fails else 0, self._waiting[server][0]

    def failed(self, server: str) -> None:
        """A try was in vain."""
        self._in_vain[server] += 1

    def came(self, server: str) -> None:
        """A video came from it: it works."""
        self._in_vain.pop(server, None)
        self._asked.pop(server, None)

    def ended(self, turn: Turn[T]) -> None:
        """Its try is over, whatever came of it."""
        self._doubtful.discard(turn)

    def withdrawn(self, server: str) -> list[Turn[T]]:
        """Those of a server who wait, and wait no longer."""
        return [turn for *_, turn in self._waiting.pop(server, ())]


class Turns(Queue[T]):
    """The turns of one run's videos.

    Args:
        until: Gives the loop's time until which a video whose server fails is tried.
    """

    def __init__(self, until: Callable[[Turn[T]], float]) -> None:
        super().__init__()
        self._until = until
        self._resting: list[tuple[float, int, Turn[T]]] = []
        self._changed = asyncio.Event()
        self.late: dict[Turn[T], None] = {}
        """Those whose server fails, the first one first: resting, waiting once more, or being tried."""
        self.waiting = 0
        """How many others wait."""

    @property
    def first(self) -> float:
        """The least rank of those others."""
        return min((queue[0][1] for queue in self._waiting.values() if not queue[0][-1].late), default=math.inf)

    @property
    def ends(self) -> float:
        """Until when the late ones are tried, if nothing changes."""
        return max(map(self._until, self.late), default=-math.inf)

    def add(self, turn: Turn[T]) -> None:
        """See `Queue.add`; who waits for `next` is told."""
        self.waiting += not turn.late
        super().add(turn)
        self._changed.set()

    async def next(self) -> Turn[T]:
        """Wait for the next turn."""
        while True:
            self.wake(loop_time())
            if (turn := self.take()) is not None:
                self.waiting -= not turn.late
                return turn
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._resting[0][0] if self._resting else None):
                    await self._changed.wait()

    def wake_all(self) -> None:
        """All have rested, and no server is known to fail."""
        self._in_vain.clear()
        self.wake(math.inf)

    def wake(self, now: float) -> None:
        """Those have rested whose time has come by `now`."""
        while self._resting and self._resting[0][0] <= now:
            self.add(heapq.heappop(self._resting)[-1])

    def put_off(self, turn: Turn[T], error: OmniError) -> bool:
        """Have it rest, since its server fails; False if it was tried long enough: then its turn is over."""
        now = loop_time()
        turn.since, turn.tries = min(turn.since, now), turn.tries + 1
        self.failed(turn.server)
        asked: float = getattr(error, "retry_after", None) or 0.0
        grown = max(min(PAUSE * 2.0 ** min(turn.tries, 30), LONGEST_PAUSE), SPACING * len(self.late))
        pause = pause_within(self._until(turn) - now, grown, asked)
        if pause is None:
            self.over(turn)
            return False
        self.late[turn] = None
        self.rest(turn, pause)
        return True

    def rest(self, turn: Turn[T], seconds: float) -> None:
        """Its turn comes again in so many seconds, behind those that failed less often."""
        self.ended(turn)
        heapq.heappush(self._resting, (loop_time() + seconds, next(self._order), turn))
        self._changed.set()

    def over(self, turn: Turn[T], *, came: bool = False) -> None:
        """It is given up, or its video `came`: then its server works."""
        self.late.pop(turn, None)
        self.ended(turn)
        if came:
            self.came(turn.server)
        self._changed.set()
