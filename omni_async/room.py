"""How many rows of a run are under way, and how many of them wait for leave to be sent."""

import asyncio


class Room:
    """Room for so many rows.

    Args:
        rows: How many.
    """

    def __init__(self, rows: int) -> None:
        self._free, self._owed = asyncio.Semaphore(rows), 0

    async def take(self) -> None:
        """Wait for that of one."""
        await self._free.acquire()

    def give_back(self) -> None:
        """That of one is another's, unless it is owed."""
        if self._owed:
            self._owed -= 1
        else:
            self._free.release()

    def owe(self) -> None:
        """A row that gave its own back needs it again, and has not to wait: the next to be given back is kept."""
        self._owed += 1


class Leave:
    """The place of a row among the few that wait for leave; called, it is another's, once."""

    __slots__ = ("_places",)

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    def __call__(self) -> None:
        places, self._places = self._places, None
        if places is not None:
            places.release()
