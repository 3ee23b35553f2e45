"""How many videos a worker fetches at once, and how few of those from servers that fail.

    one ──▶ waiting ──▶ has a place ──▶ over
     │         │
     └─────────┴──▶ refused             its server fails, and is being tried for others

Whoever is refused goes back to the queue: in a worker's hands it would keep others from being taken.
"""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator

import attrs

from ..turns import DOUBTFUL, IN_VAIN


@attrs.define(eq=False)
class Place:
    """A video's place, or none.

    Args:
        server: Which one has it.
        given: Whether it got a place, once that is known.
        holds: Whether it has one now.
    """

    server: str
    given: "asyncio.Future[bool]"
    holds: bool = False


class Places:
    """The places of one worker, given to the least rank first.

    Args:
        count: How many there are. Servers that fail take half of them at most, and no more than four, all together.
    """

    def __init__(self, count: int) -> None:
        self._free, self._most = count, max(min(DOUBTFUL, count // 2), 1)
        self._waiting: list[tuple[float, int, Place]] = []
        self._order = itertools.count()
        self._in_vain: dict[str, int] = {}
        self._of: dict[str, set[Place]] = {}  # by server; none is empty

    @contextlib.asynccontextmanager
    async def one(self, rank: float, server: str) -> AsyncIterator[bool]:
        """A place, for as long as this lasts; False if there is none to wait for, since the server fails."""
        place = Place(server, asyncio.get_running_loop().create_future())
        if self._fails(server) and self._doubtful >= self._most:
            yield False
            return
        self._of.setdefault(server, set()).add(place)
        heapq.heappush(self._waiting, (rank, next(self._order), place))
        self._deal()
        try:
            yield await place.given
        finally:
            self._leave(place)

    def came(self, server: str) -> None:
        """A video came: the server works."""
        self._in_vain.pop(server, None)

    def failed(self, server: str) -> None:
        """It could not be reached, or failed. Once that was so a few times in a row, few wait for it."""
        self._in_vain[server] = self._in_vain.get(server, 0) + 1
        if self._in_vain[server] != IN_VAIN:
            return
        for _, _, place in sorted(self._waiting, reverse=True):
            if place.server == server and not place.given.done() and self._doubtful > self._most:
                place.given.set_result(False)
                self._forget(place)

    @property
    def _doubtful(self) -> int:
        """How many wait for servers that fail, or have a place."""
        return sum(len(self._of.get(server, ())) for server in self._in_vain if self._fails(server))

    def _fails(self, server: str) -> bool:
        return self._in_vain.get(server, 0) >= IN_VAIN

    def _deal(self) -> None:
        while self._free and self._waiting:
            place = heapq.heappop(self._waiting)[-1]
            if not place.given.done():  # refused meanwhile, or cancelled
                place.given.set_result(True)
                place.holds = True
                self._free -= 1

    def _leave(self, place: Place) -> None:
        self._forget(place)
        if place.holds:
            self._free += 1
            self._deal()
        elif not place.given.done():
            place.given.cancel()

    def _forget(self, place: Place) -> None:
        if place in (here := self._of.get(place.server, set())):
            here.discard(place)
            if not here:
                del self._of[place.server]
