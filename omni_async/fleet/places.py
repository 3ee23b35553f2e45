"""How many videos a worker fetches at once, and how few of those from servers that fail.

    one ──▶ waiting ──▶ has a place ──▶ over
     │         │
     └─────────┴──▶ refused             its server fails, and is being tried for others

Whoever is refused goes back to the queue: in a worker's hands it would keep others from being taken.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from ..turns import DOUBTFUL, Queue, Turn


class Places:
    """The places of one worker, given to the least rank first.

    Args:
        count: How many there are. Servers that fail take half of them at most, and no more than four, all together.
        hands: Rows that the worker has in hand at most, if it has less than all. Half of them are not for such servers.
    """

    def __init__(self, count: int, hands: int | None = None) -> None:
        hands = 4 * count if hands is None else hands
        self._free, self._most = count, max(min(DOUBTFUL, count // 2, hands // 4), 1)
        self._with_others = max(min(2 * self._most, hands // 2), 1)
        self._queue: Queue[asyncio.Future[bool]] = Queue(self._most)
        self._at_hand: Counter[str] = Counter()  # by server: who waits, or has a place

    @contextlib.asynccontextmanager
    async def one(self, rank: float, server: str) -> AsyncIterator[bool]:
        """A place, for as long as this lasts; False if there is none to wait for, since the server fails."""
        if self._is_tried(server):
            yield False
            return
        turn = Turn(asyncio.get_running_loop().create_future(), rank, server)
        self._at_hand[server] += 1
        self._queue.add(turn)
        self._deal()
        try:
            yield await turn.of
        finally:
            self._leave(turn)

    def came(self, server: str) -> None:
        """A video came: the server works."""
        self._queue.came(server)

    def failed(self, server: str) -> None:
        """It could not be reached, or failed. Once that was so a few times in a row, few wait for it."""
        failed_before = self._queue.fails(server)
        self._queue.failed(server)
        if self._queue.fails(server) and not failed_before:
            for turn in self._queue.withdrawn(server):
                if not turn.of.done():
                    turn.of.set_result(False)

    def _is_tried(self, server: str) -> bool:
        """Whether a server fails, and enough is at hand to tell when it works again: a video of its own, too.

        Else one that has few would be refused for those of another, whose every try takes a minute, for hours.
        """
        if not self._queue.fails(server):
            return False
        doubtful = sum(count for of, count in self._at_hand.items() if self._queue.fails(of))
        return doubtful >= (self._most if self._at_hand[server] else self._with_others)

    def _deal(self) -> None:
        while self._free and (turn := self._queue.take()) is not None:
            if turn.of.done():  # it was cancelled meanwhile
                self._queue.ended(turn)
            else:
                turn.of.set_result(True)
                self._free -= 1

    def _leave(self, turn: Turn[asyncio.Future[bool]]) -> None:
        self._at_hand[turn.server] -= 1
        if not self._at_hand[turn.server]:
            del self._at_hand[turn.server]
        self._queue.ended(turn)
        turn.of.cancel()
        self._free += not turn.of.cancelled() and turn.of.result()
        self._deal()
